// Every public header in a C++ program, each included twice and in any order.
#include <demi/wait.h>
#include <demi/sga.h>
#include <demi/libos.h>
#include <demi/types.h>
#include <demi/cc.h>
#include <demi/wait.h>

#include <cerrno>

int main(int argc, char *argv[]) {
    demi_args args = {argc, argv, nullptr};
    demi_qresult_t qr = {};
    demi_sgarray_t sga = {};
    (void)args;
    static_assert(sizeof(demi_sgaseg_t) == 12 && sizeof(demi_sgarray_t) == 40, "layout");
    static_assert(sizeof(demi_accept_result_t) == 20 && sizeof(demi_qresult_t) == 64, "layout");
    static_assert(sizeof(args) == 20 && DEMI_SGARRAY_MAXSIZE == 1, "layout");
    static_assert(DEMI_OPC_INVALID == 0 && DEMI_OPC_PUSH == 1 && DEMI_OPC_POP == 2, "opcodes");
    static_assert(DEMI_OPC_ACCEPT == 3 && DEMI_OPC_CONNECT == 4, "opcodes");
    static_assert(DEMI_OPC_CLOSE == 5 && DEMI_OPC_FAILED == 6, "opcodes");
    return demi_wait(&qr, 1, nullptr) == ENOSYS && demi_sgafree(&sga) == ENOSYS ? 0 : 1;
}
