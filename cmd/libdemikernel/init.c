/*
 * demi_init, and the handler that delivers what was pushed when a program ends.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../../include/demi/libos.h"
#include "../../datapath/process.h"
#include "_cgo_export.h"

/*
 * Programs that simply return from main expect what TCP would do: the peer still gets every
 * byte. A forked child shares its parent's queue pairs and must leave them alone.
 */
static void deliver_at_exit(void) {
    if (dp_process_ready())
        catmint_go_exit();
}

static void install_exit_handler(void) {
    if (atexit(deliver_at_exit) != 0)
        (void)fputs("catmint: no room for an exit handler: close sockets before the program ends, "
                    "or what was pushed last may be lost\n",
                    stderr);
}

/*
 * More descriptors than demi_init has open at once: 10, two of them of Go's netpoller, which ends
 * the program when it cannot have them, and a few while libibverbs reads its configuration, which
 * it does once, and knows no device ever after when it cannot.
 */
#define INIT_FDS 16

/* Whether there are so many. 0 or the errno of the lack. */
static int descriptors_left(void) {
    int fds[INIT_FDS];
    int n = 0, err = 0;

    while (n < INIT_FDS && err == 0) {
        fds[n] = eventfd(0, EFD_CLOEXEC);
        if (fds[n] < 0)
            err = errno;
        else
            n++;
    }
    while (n > 0)
        (void)close(fds[--n]);
    return err;
}

/* The program's, kept for measurements to report to; nothing requires it. */
static _Atomic(demi_callback_t) callback;

int demi_init(const struct demi_args *args) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    void *engine = NULL;
    int rc;

    if (dp_process_forked()) {
        (void)fputs("catmint: demi_init: this process was forked after the library was loaded, "
                    "which leaves it unusable here; fork first, or exec\n",
                    stderr);
        return ENOSYS;
    }
    if (dp_process_bound())
        return EEXIST;
    rc = descriptors_left();
    if (rc != 0) {
        (void)fputs("catmint: demi_init: too few file descriptors are left: raise the limit "
                    "with ulimit -n\n",
                    stderr);
        return rc;
    }
    rc = catmint_go_init(&engine);
    if (rc != 0)
        return rc;
    rc = dp_process_bind(engine);
    if (rc != 0)
        return rc;
    if (args != NULL)
        atomic_store(&callback, args->callback);
    (void)pthread_once(&once, install_exit_handler);
    return 0;
}
