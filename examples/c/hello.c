/* Connects to a server such as rping-demi -s, sends a message and prints the echo. */
#include <arpa/inet.h>
#include <demi/libos.h>
#include <demi/sga.h>
#include <demi/wait.h>
#include <stdio.h>
#include <string.h>

/* Waits for the operation that a call began; 0 or a positive errno. */
static int finish(int err, demi_qtoken_t *qt, demi_qresult_t *r) {
    if (err == 0)
        err = demi_wait(r, *qt, NULL);
    return err ? err : r->qr_opcode == DEMI_OPC_FAILED ? (int)r->qr_ret : 0;
}

int main(int argc, char **argv) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(7174)};
    demi_qresult_t r;
    demi_qtoken_t qt;
    int qd, err;

    if (argc != 2 || inet_pton(AF_INET, argv[1], &to.sin_addr) != 1)
        return fprintf(stderr, "usage: hello IPV4-ADDRESS\n"), 2;
    if ((err = demi_init(NULL)) || (err = demi_socket(&qd, AF_INET, SOCK_STREAM, 0)) ||
        (err = finish(demi_connect(&qt, qd, (struct sockaddr *)&to, sizeof(to)), &qt, &r)))
        return fprintf(stderr, "connect: %s\n", strerror(err)), 1;

    demi_sgarray_t hello = demi_sgaalloc(5);
    memcpy(hello.sga_segs[0].sgaseg_buf, "hello", 5);
    if ((err = finish(demi_push(&qt, qd, &hello), &qt, &r)) ||
        (err = finish(demi_pop(&qt, qd), &qt, &r)))
        return fprintf(stderr, "echo: %s\n", strerror(err)), 1;
    demi_sgaseg_t got = r.qr_value.sga.sga_segs[0];
    printf("echoed: %.*s\n", (int)got.sgaseg_len, (const char *)got.sgaseg_buf);
    demi_sgafree(&hello);
    demi_sgafree(&r.qr_value.sga);
    return demi_close(qd);
}
