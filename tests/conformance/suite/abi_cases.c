/* The binary and source interface: what a program that was built against Demikernel relies on. */
#include "suite.h"

#include <stddef.h>

static void sizes_offsets_and_values_are_demikernels(void) {
    CHECK_INT(sizeof(demi_qtoken_t), 8);
    CHECK_INT(sizeof(demi_sgaseg_t), 12);
    CHECK_INT(offsetof(demi_sgaseg_t, sgaseg_buf), 0);
    CHECK_INT(offsetof(demi_sgaseg_t, sgaseg_len), 8);
    CHECK_INT(sizeof(demi_sgarray_t), 40);
    CHECK_INT(offsetof(demi_sgarray_t, sga_buf), 0);
    CHECK_INT(offsetof(demi_sgarray_t, sga_numsegs), 8);
    CHECK_INT(offsetof(demi_sgarray_t, sga_segs), 12);
    CHECK_INT(offsetof(demi_sgarray_t, sga_addr), 24);
    CHECK_INT(sizeof(demi_accept_result_t), 20);
    CHECK_INT(offsetof(demi_accept_result_t, qd), 0);
    CHECK_INT(offsetof(demi_accept_result_t, addr), 4);
    CHECK_INT(sizeof(demi_qresult_t), 64);
    CHECK_INT(offsetof(demi_qresult_t, qr_opcode), 0);
    CHECK_INT(offsetof(demi_qresult_t, qr_qd), 4);
    CHECK_INT(offsetof(demi_qresult_t, qr_qt), 8);
    CHECK_INT(offsetof(demi_qresult_t, qr_ret), 16);
    CHECK_INT(offsetof(demi_qresult_t, qr_value), 24);
    CHECK_INT(sizeof(struct demi_args), 20);
    CHECK_INT(offsetof(struct demi_args, argv), 4);
    CHECK_INT(offsetof(struct demi_args, callback), 12);
    CHECK_INT(DEMI_SGARRAY_MAXSIZE, 1);
    CHECK_INT(sizeof(demi_opcode_t), 4);
    CHECK_INT(DEMI_OPC_INVALID, 0);
    CHECK_INT(DEMI_OPC_PUSH, 1);
    CHECK_INT(DEMI_OPC_POP, 2);
    CHECK_INT(DEMI_OPC_ACCEPT, 3);
    CHECK_INT(DEMI_OPC_CONNECT, 4);
    CHECK_INT(DEMI_OPC_CLOSE, 5);
    CHECK_INT(DEMI_OPC_FAILED, 6);
}

/* The compiler refuses a function of another type. Field by field, for their types, too. */
static void signatures_and_fields_are_demikernels(void) {
    int (*init)(const struct demi_args *) = demi_init;
    int (*socket)(int *, int, int, int) = demi_socket;
    int (*listen)(int, int) = demi_listen;
    int (*bind)(int, const struct sockaddr *, socklen_t) = demi_bind;
    int (*accept)(demi_qtoken_t *, int) = demi_accept;
    int (*connect)(demi_qtoken_t *, int, const struct sockaddr *, socklen_t) = demi_connect;
    int (*close)(int) = demi_close;
    int (*push)(demi_qtoken_t *, int, const demi_sgarray_t *) = demi_push;
    int (*pushto)(demi_qtoken_t *, int, const demi_sgarray_t *, const struct sockaddr *,
                  socklen_t) = demi_pushto;
    int (*pop)(demi_qtoken_t *, int) = demi_pop;
    int (*setsockopt)(int, int, int, const void *, socklen_t) = demi_setsockopt;
    int (*getsockopt)(int, int, int, void *, socklen_t *) = demi_getsockopt;
    int (*getpeername)(int, struct sockaddr *, socklen_t *) = demi_getpeername;
    int (*getsockname)(int, struct sockaddr *, socklen_t *) = demi_getsockname;
    demi_sgarray_t (*sgaalloc)(size_t) = demi_sgaalloc;
    int (*sgafree)(demi_sgarray_t *) = demi_sgafree;
    int (*wait)(demi_qresult_t *, demi_qtoken_t, const struct timespec *) = demi_wait;
    int (*wait_any)(demi_qresult_t *, int *, const demi_qtoken_t[], int, const struct timespec *) =
        demi_wait_any;
    int (*wait_next_n)(demi_qresult_t *, int, int *, const struct timespec *) = demi_wait_next_n;
    demi_callback_t callback = (void (*)(const char *, uint32_t, uint64_t))NULL;
    char *argv[] = {NULL};
    const struct demi_args args = {.argc = 0, .argv = argv, .callback = callback};
    const struct demi_sgarray sga = {.sga_buf = NULL, .sga_numsegs = 0};
    const struct demi_sgaseg seg = {.sgaseg_buf = NULL, .sgaseg_len = 0};
    const struct demi_accept_result ares = {.qd = 0};
    const struct demi_qresult qr = {
        .qr_opcode = DEMI_OPC_INVALID, .qr_qd = 0, .qr_qt = 0, .qr_ret = 0};
    const enum demi_opcode opcode = qr.qr_opcode;

    CHECK(init && socket && listen && bind && accept && connect && close && push && pushto && pop);
    CHECK(setsockopt && getsockopt && getpeername && getsockname && sgaalloc && sgafree);
    CHECK(wait && wait_any && wait_next_n);
    CHECK(args.argv == argv && sga.sga_numsegs == 0 && seg.sgaseg_len == 0 && ares.qd == 0);
    CHECK(sizeof(qr.qr_value.sga) == sizeof(sga) && sizeof(qr.qr_value.ares) == sizeof(ares));
    CHECK(opcode == DEMI_OPC_INVALID && sizeof(sga.sga_addr) == sizeof(struct sockaddr_in));
}

const struct test_case abi_cases[] = {
    {"sizes, offsets, opcodes and constants are Demikernel's",
     sizes_offsets_and_values_are_demikernels},
    {"the functions have Demikernel's signatures, the structures its fields",
     signatures_and_fields_are_demikernels},
    {0},
};

/* ---- The very first ----------------------------------------------------------------------------
 */

static void the_first_descriptor_is_500(void) {
    int qd = new_socket(AF_INET);

    CHECK_INT(qd, 500);
    CHECK_OK(demi_close(qd));
}

const struct test_case first_cases[] = {
    {"the first descriptor of a program is 500", the_first_descriptor_is_500},
    {0},
};
