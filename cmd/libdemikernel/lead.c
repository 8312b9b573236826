/*
 * What a thread that waits for connections in demi_wait calls of Go: see datapath/lead.c. No other
 * wait enters Go.
 */
#include "lead.h"

#include "../../datapath/datapath.h"
#include "_cgo_export.h"

static int catmint_lead_take(struct dp_engine *e, int *events, int *interrupt) {
    return catmint_go_take_watch(e, events, interrupt);
}

static int catmint_lead_turn(struct dp_engine *e) {
    return catmint_go_turn(e);
}

static void catmint_lead_leave(struct dp_engine *e) {
    catmint_go_leave_watch(e);
}

void catmint_provide_lead(void) {
    static const struct dp_lead_ops ops = {
        .take = catmint_lead_take, .turn = catmint_lead_turn, .leave = catmint_lead_leave};

    dp_lead_provide(&ops);
}
