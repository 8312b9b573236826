/*
 * The harness of the conformance suite: cases are functions in tables, checks say what they
 * got, and what most cases need (a listener, a connection, a token's result) is made here.
 *
 * A case that fails goes on to its end; its descriptors may then stay open, which later
 * cases must stand.
 */
#ifndef CATMINT_CONFORMANCE_SUITE_H
#define CATMINT_CONFORMANCE_SUITE_H

#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include <demi/libos.h>
#include <demi/sga.h>
#include <demi/wait.h>

struct test_case {
    const char *says; /* a sentence */
    void (*run)(void);
};

/* A table of cases ends with an empty one. */
extern const struct test_case before_init_cases[], fork_cases[], init_cases[], null_cases[],
    socket_cases[], name_cases[], option_cases[], connect_cases[], unreachable_cases[],
    wait_cases[], wait_many_cases[], data_cases[], close_cases[], memory_cases[], thread_cases[],
    ipv6_cases[], exhausted_cases[], state_cases[], abi_cases[], first_cases[], environment_cases[],
    leaving_cases[];

/* conformance child DEED ARG...: another program that a case runs; its exit status. */
int run_child(int argc, char *argv[]);

/* ---- Checks: each records a failure of the current case and answers whether it held -------- */

bool check(bool ok, const char *file, int line, const char *what);
bool check_int(long long got, long long want, const char *file, int line, const char *what);
bool check_errno(int got, int want, const char *file, int line, const char *what);

#define CHECK(cond) check((cond), __FILE__, __LINE__, #cond)
#define CHECK_INT(got, want) check_int((got), (want), __FILE__, __LINE__, #got)
/* got is the answer of a call: 0 or a positive errno. */
#define CHECK_ERRNO(got, want) check_errno((got), (want), __FILE__, __LINE__, #got)
#define CHECK_OK(got) check_errno((got), 0, __FILE__, __LINE__, #got)

/* ---- Addresses -------------------------------------------------------------------------- */

union address {
    struct sockaddr sa;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_storage storage;
};

/* The device's address with port 0, from the command line; v6.sin6_family is 0 without one. */
extern union address local4, local6;
/* A neighbour's address that nobody has, with a port; sin_family is 0 without one. */
extern union address nobody4;

socklen_t address_size(const union address *a);
/* a with another port, in host byte order. */
union address with_port(const union address *a, uint16_t port);
uint16_t port_of(const union address *a);

/* ---- Sockets and results ------------------------------------------------------------------ */

extern const struct timespec no_time; /* zero */
struct timespec milliseconds(long ms);
long elapsed_ms(const struct timespec *since);
struct timespec now(void);

/* A socket of the address's family; -1 after a failed check. */
int new_socket(int family);
/* A listener on a free port of *where; *at is its address. */
int new_listener(const union address *where, int backlog, union address *at);

struct pair {
    int listener, client, server; /* client is connected to server, which listener accepted */
    union address at;             /* the listener's address */
};
bool new_pair(const union address *where, struct pair *p);
void close_pair(struct pair *p);

/* The result of qt within 30 s; qr_opcode is DEMI_OPC_INVALID after a failed check. */
demi_qresult_t result_of(demi_qtoken_t qt);
/* Waits for qt and checks that it succeeded with op. */
bool finish(demi_qtoken_t qt, enum demi_opcode op);
/* Waits for qt and checks that it failed with err. */
bool finish_failed(demi_qtoken_t qt, int err);
/* Whether qt is pending: it is polled once and must answer ETIMEDOUT. */
bool is_pending(demi_qtoken_t qt);

/* A message of size bytes, each fill. */
demi_sgarray_t message(size_t size, int fill);
/* Pushes a message of size bytes, frees it at once and answers the token. */
demi_qtoken_t push_message(int qd, size_t size, int fill);
/* Pops a message and checks its size and that each byte is fill; frees it. */
bool pop_message(int qd, size_t size, int fill);

#endif
