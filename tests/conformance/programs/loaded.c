/*
 * A program that is not linked with the library: it loads it, uses it, unloads it and loads it
 * again. The library stays in memory (Go's runtime cannot be unloaded), so what was open stays
 * open, and works.
 *
 *     loaded LIBRARY ADDR
 */
#include <dlfcn.h>
#include <pthread.h>

/* The functions, as dlsym finds them; the helpers of common.h call them by their names. */
#include <demi/libos.h>
#include <demi/sga.h>
#include <demi/wait.h>

static __typeof__(demi_init) *init;
static __typeof__(demi_socket) *socket_;
static __typeof__(demi_bind) *bind_;
static __typeof__(demi_listen) *listen_;
static __typeof__(demi_getsockname) *getsockname_;
static __typeof__(demi_accept) *accept_;
static __typeof__(demi_connect) *connect_;
static __typeof__(demi_push) *push_;
static __typeof__(demi_pop) *pop_;
static __typeof__(demi_wait) *wait_;
static __typeof__(demi_sgaalloc) *sgaalloc_;
static __typeof__(demi_sgafree) *sgafree_;
static __typeof__(demi_close) *close_;

#define demi_init init
#define demi_socket socket_
#define demi_bind bind_
#define demi_listen listen_
#define demi_getsockname getsockname_
#define demi_accept accept_
#define demi_connect connect_
#define demi_push push_
#define demi_pop pop_
#define demi_wait wait_
#define demi_sgaalloc sgaalloc_
#define demi_sgafree sgafree_
#define demi_close close_

#include "common.h"

static void *find(void *library, const char *name) {
    void *f = dlsym(library, name);

    if (f == NULL)
        FAIL("%s", dlerror());
    return f;
}

static void *load(const char *path) {
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);

    if (library == NULL)
        FAIL("%s", dlerror());
    *(void **)&init = find(library, "demi_init");
    *(void **)&socket_ = find(library, "demi_socket");
    *(void **)&bind_ = find(library, "demi_bind");
    *(void **)&listen_ = find(library, "demi_listen");
    *(void **)&getsockname_ = find(library, "demi_getsockname");
    *(void **)&accept_ = find(library, "demi_accept");
    *(void **)&connect_ = find(library, "demi_connect");
    *(void **)&push_ = find(library, "demi_push");
    *(void **)&pop_ = find(library, "demi_pop");
    *(void **)&wait_ = find(library, "demi_wait");
    *(void **)&sgaalloc_ = find(library, "demi_sgaalloc");
    *(void **)&sgafree_ = find(library, "demi_sgafree");
    *(void **)&close_ = find(library, "demi_close");
    return library;
}

int main(int argc, char *argv[]) {
    struct pair first, second;
    void *library;
    int qd;

    if (argc != 3)
        FAIL("usage: loaded LIBRARY ADDR");
    (void)alarm(120);
    /* Loaded and unloaded, unused. */
    library = load(argv[1]);
    MUST("demi_socket", demi_socket(&qd, AF_INET, SOCK_STREAM, 0), ENOSYS);
    if (dlclose(library) != 0)
        FAIL("%s", dlerror());

    library = load(argv[1]);
    MUST("demi_init", demi_init(NULL), 0);
    first = new_pair(argv[2]);
    ping(&first);
    if (dlclose(library) != 0)
        FAIL("%s", dlerror());

    library = load(argv[1]);
    MUST("demi_init", demi_init(NULL), EEXIST);
    ping(&first);
    second = new_pair(argv[2]);
    ping(&second);
    MUST("demi_close", demi_close(first.client), 0);
    if (dlclose(library) != 0)
        FAIL("%s", dlerror());
    return 7; /* with connections alive, and no handle to the library */
}
