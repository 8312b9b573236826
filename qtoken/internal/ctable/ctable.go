package ctable

/*
#cgo CFLAGS: -I${SRCDIR}/../.. -Wall -Wextra -Werror
#include "qtoken.h"

static void *no_memory(size_t alignment, size_t size)
{
    (void)alignment;
    (void)size;
    return NULL;
}

static void fail_growth(struct qt_table *t, bool fail) { t->alloc = fail ? no_memory : aligned_alloc; }

static struct qt_table *table_new(uint32_t engine, uint32_t max, int *err)
{
    struct qt_table *t = malloc(sizeof(*t));
    if (!t) {
        *err = ENOMEM;
        return NULL;
    }
    *err = qt_table_init(t, engine, max);
    if (*err) {
        free(t);
        return NULL;
    }
    return t;
}

static int table_free(struct qt_table *t)
{
    int rc = qt_table_destroy(t);
    if (!rc)
        free(t);
    return rc;
}

static int alloc(struct qt_table *t, int32_t qd, int op, demi_qtoken_t *out)
{
    struct qt_slot *s;
    int rc = qt_alloc(t, qd, (enum demi_opcode)op, &s);
    if (!rc)
        *out = qt_token(t, s);
    return rc;
}

static int complete(struct qt_table *t, demi_qtoken_t qt, int op, int64_t ret, uint32_t len)
{
    struct qt_slot *s = qt_lookup(t, qt);
    if (!s)
        return EINVAL;
    if (!len)
        return qt_complete(t, s, (enum demi_opcode)op, ret);
    demi_sgarray_t sga = {.sga_numsegs = 1};
    sga.sga_segs[0].sgaseg_len = len;
    return qt_complete_sga(t, s, (enum demi_opcode)op, ret, &sga);
}

static int complete_accept(struct qt_table *t, demi_qtoken_t qt, int32_t qd, uint16_t port)
{
    struct qt_slot *s = qt_lookup(t, qt);
    demi_accept_result_t ares = {.qd = qd};
    ares.addr.sin_port = port;
    return s ? qt_complete_accept(t, s, DEMI_OPC_ACCEPT, 0, &ares) : EINVAL;
}

static int redeem(struct qt_table *t, demi_qtoken_t qt, demi_qresult_t *out)
{
    struct qt_slot *s = qt_lookup(t, qt);
    return s ? qt_redeem(t, s, out) : EINVAL;
}

static int abandon(struct qt_table *t, demi_qtoken_t qt)
{
    struct qt_slot *s = qt_lookup(t, qt);
    return s ? qt_abandon(t, s) : EINVAL;
}

static int watch(struct qt_table *t, demi_qtoken_t qt, bool on, bool *done)
{
    struct qt_slot *s = qt_lookup(t, qt);
    if (!s)
        return EINVAL;
    if (on)
        *done = qt_watch(t, s);
    else
        qt_unwatch(t, s);
    return 0;
}

static demi_qtoken_t next_done(struct qt_table *t)
{
    struct qt_slot *s = qt_next_done(t);
    return s ? qt_token(t, s) : QT_INVALID;
}

// A packed struct's members are out of cgo's reach.
static int32_t result_qd(const demi_qresult_t *r) { return r->qr_qd; }
static int result_op(const demi_qresult_t *r) { return r->qr_opcode; }
static int64_t result_ret(const demi_qresult_t *r) { return r->qr_ret; }
static uint64_t result_qt(const demi_qresult_t *r) { return r->qr_qt; }

// One thread's whole path, without cgo in between: for the benchmark.
static void cycle(struct qt_table *t, uint64_t n, uint32_t alive)
{
    static struct qt_slot *pending[1024];
    demi_qresult_t r;
    for (uint64_t i = 0; i < n; i += alive) {
        for (uint32_t k = 0; k < alive; k++)
            if (qt_alloc(t, 500, DEMI_OPC_PUSH, &pending[k]))
                abort();
        for (uint32_t k = 0; k < alive; k++)
            if (qt_complete(t, pending[k], DEMI_OPC_PUSH, 0))
                abort();
        for (struct qt_slot *s; (s = qt_next_done(t)) != NULL;)
            if (qt_redeem(t, s, &r))
                abort();
    }
}
*/
import "C"

import (
	"syscall"
	"unsafe"

	_ "catmint/include/demi" // included
	"catmint/qtoken"
)

// The layout and limits that the header has.
const (
	SlotSize       = C.sizeof_struct_qt_slot
	IndexBits      = C.QT_INDEX_BITS
	GenerationBits = C.QT_GEN_BITS
	EngineBits     = C.QT_ENGINE_BITS
	MaxEngine      = C.QT_ENGINE_MAX
	ChunkSlots     = C.QT_CHUNK_SLOTS
	MaxTokens      = C.QT_DEFAULT_MAX
)

// Opcodes of demi/types.h.
const (
	OpPush    = C.DEMI_OPC_PUSH
	OpPop     = C.DEMI_OPC_POP
	OpAccept  = C.DEMI_OPC_ACCEPT
	OpConnect = C.DEMI_OPC_CONNECT
	OpFailed  = C.DEMI_OPC_FAILED
)

// State is what Peek sees.
type State int

// The states of a token.
const (
	Free    State = C.QT_FREE
	Pending State = C.QT_PENDING
	Done    State = C.QT_DONE
)

// Table is a C table.
type Table struct{ c *C.struct_qt_table }

// Result is a redeemed demi_qresult_t; Value holds the bytes of qr_value.
type Result struct {
	Token qtoken.Token
	Op    int
	QD    int32
	Ret   int64
	Value [40]byte
}

func errno(rc C.int) error {
	if rc == 0 {
		return nil
	}
	return syscall.Errno(rc)
}

// New makes a table.
func New(engine, maxTokens uint32) (*Table, error) {
	var rc C.int
	c := C.table_new(C.uint32_t(engine), C.uint32_t(maxTokens), &rc)
	if c == nil {
		return nil, errno(rc)
	}
	return &Table{c}, nil
}

// Close frees the table; EBUSY while tokens are alive.
func (t *Table) Close() error { return errno(C.table_free(t.c)) }

// SetMaxGeneration makes slots retire early.
func (t *Table) SetMaxGeneration(n uint64) { t.c.word_max = C.uint64_t(n) << C.QT_STATE_BITS }

// FailGrowth makes the memory for chunks run out, or come back.
func (t *Table) FailGrowth(fail bool) { C.fail_growth(t.c, C.bool(fail)) }

// Alloc is qt_alloc.
func (t *Table) Alloc(qd int32, op int) (qtoken.Token, error) {
	var out C.demi_qtoken_t
	rc := C.alloc(t.c, C.int32_t(qd), C.int(op), &out)
	return qtoken.Token(out), errno(rc)
}

// Complete is qt_complete, or qt_complete_sga with a segment of n bytes if n is not 0.
func (t *Table) Complete(qt qtoken.Token, op int, ret int64, n uint32) error {
	return errno(C.complete(t.c, C.demi_qtoken_t(qt), C.int(op), C.int64_t(ret), C.uint32_t(n)))
}

// CompleteAccept is qt_complete_accept.
func (t *Table) CompleteAccept(qt qtoken.Token, qd int32, port uint16) error {
	return errno(C.complete_accept(t.c, C.demi_qtoken_t(qt), C.int32_t(qd), C.uint16_t(port)))
}

// Redeem is qt_lookup and qt_redeem.
func (t *Table) Redeem(qt qtoken.Token) (Result, error) {
	var r C.demi_qresult_t
	if rc := C.redeem(t.c, C.demi_qtoken_t(qt), &r); rc != 0 {
		return Result{}, errno(rc)
	}
	out := Result{
		Token: qtoken.Token(C.result_qt(&r)),
		Op:    int(C.result_op(&r)),
		QD:    int32(C.result_qd(&r)),
		Ret:   int64(C.result_ret(&r)),
	}
	raw := (*[C.sizeof_demi_qresult_t]byte)(unsafe.Pointer(&r))
	copy(out.Value[:], raw[24:])
	return out, nil
}

// Abandon is qt_abandon.
func (t *Table) Abandon(qt qtoken.Token) error {
	return errno(C.abandon(t.c, C.demi_qtoken_t(qt)))
}

// Watch is qt_watch.
func (t *Table) Watch(qt qtoken.Token) (done bool, err error) {
	var d C.bool
	rc := C.watch(t.c, C.demi_qtoken_t(qt), true, &d)
	return bool(d), errno(rc)
}

// Unwatch is qt_unwatch.
func (t *Table) Unwatch(qt qtoken.Token) error {
	var d C.bool
	return errno(C.watch(t.c, C.demi_qtoken_t(qt), false, &d))
}

// Peek is qt_peek.
func (t *Table) Peek(qt qtoken.Token) State { return State(C.qt_peek(t.c, C.demi_qtoken_t(qt))) }

// NextDone is the token of qt_next_done, or 0.
func (t *Table) NextDone() qtoken.Token { return qtoken.Token(C.next_done(t.c)) }

// Alive is qt_alive.
func (t *Table) Alive() int { return int(C.qt_alive(t.c)) }

// Done is qt_done.
func (t *Table) Done() int { return int(C.qt_done(t.c)) }

// Retired is how many slots have spent their generations.
func (t *Table) Retired() int { return int(t.c.retired) }

// Cycle takes, completes and redeems n tokens in C, alive (1 to 1024) at a time.
func (t *Table) Cycle(n uint64, alive uint32) {
	C.cycle(t.c, C.uint64_t(n), C.uint32_t(alive))
}

// MakeToken is qt_token_make.
func MakeToken(engine uint32, generation uint64, index uint32) qtoken.Token {
	return qtoken.Token(C.qt_token_make(C.uint32_t(engine), C.uint64_t(generation), C.uint32_t(index)))
}
