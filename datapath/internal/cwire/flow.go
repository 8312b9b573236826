package cwire

// #cgo noescape flow_init
// #cgo nocallback flow_init
// #cgo noescape flow_add
// #cgo nocallback flow_add
// #cgo noescape flow_tell_later
// #cgo nocallback flow_tell_later
// #cgo noescape flow_tell_now
// #cgo nocallback flow_tell_now
// #cgo noescape flow_told_later
// #cgo nocallback flow_told_later
// #cgo noescape flow_wait
// #cgo nocallback flow_wait
// #cgo noescape flow_close
// #cgo nocallback flow_close
// #cgo noescape flow_send
// #cgo nocallback flow_send
// #cgo noescape flow_receive
// #cgo nocallback flow_receive
// #cgo noescape flow_return_data
// #cgo nocallback flow_return_data
// #cgo noescape flow_return_ctrl
// #cgo nocallback flow_return_ctrl
// #cgo noescape cwire_view
// #cgo nocallback cwire_view
// #include "../../wire/flow.h"
//
// /* Every question about a flow at once: one crossing for the model's many. */
// static inline uint32_t cwire_view(const struct flow *f, bool pushes) {
//     return (uint32_t)flow_next_ctrl(f, pushes) | (uint32_t)flow_may_send_data(f) << 8 |
//            (uint32_t)flow_may_send_ctrl(f) << 9 | (uint32_t)flow_credit_due(f) << 10 |
//            (uint32_t)flow_fin_due(f, pushes) << 11 | (uint32_t)flow_finack_due(f) << 12 |
//            (uint32_t)flow_drained(f) << 13 | (uint32_t)flow_orderly(f) << 14 |
//            (uint32_t)flow_drops(f) << 15 | (uint32_t)flow_expects_data(f) << 16 |
//            (uint32_t)(flow_push_error(f) == 0) << 17;
// }
import "C"

import "unsafe"

// Level is enum flow_fin: how far one direction has been closed.
type Level uint8

// The levels of a close.
const (
	Open Level = C.FLOW_OPEN
	Half Level = C.FLOW_HALF
	Full Level = C.FLOW_FULL
)

// Bounds of the windows, in receives.
const (
	DataWindowMin     = C.FLOW_DATA_WINDOW_MIN
	CtrlWindowMin     = C.FLOW_CTRL_WINDOW_MIN
	CtrlWindowDefault = C.FLOW_CTRL_WINDOW_DEFAULT
	WindowMax         = C.FLOW_WINDOW_MAX
)

// Flow is struct flow; flow.h describes the fields.
type Flow struct {
	TypeOut      uint16 // type and flags of the next DATA
	DataReturned uint16
	CtrlReturned uint16
	SeqOut       uint16

	DataOwed uint16
	CtrlOwed uint16

	DataOpen int16
	CtrlOpen int16

	TypeIn    uint16
	DataAcked uint16
	CtrlAcked uint16
	SeqIn     uint16

	DataCredit int16
	CtrlCredit int16

	PeerDataWindow uint16
	PeerCtrlWindow uint16
	PeerAdded      uint16

	DataWindow uint16
	CtrlWindow uint16
	Added      uint16
	Granted    uint16

	DataDue     uint16
	CtrlDue     uint16
	CtrlReserve uint16

	FinWant    Level
	FinSent    Level
	FinAcked   Level
	PeerFin    Level
	PeerFinAck Level

	PingSent uint8
	PongOwed uint8
	_        uint8
	PingArg  uint32
	PongArg  uint32

	RTSSent uint32
	RTSOpen uint32
	RTSIn   uint32
	RTSOwed uint32
}

// The Go structs are the C structs: the types below differ, and do not compile,
// unless size and places agree.
var (
	_ [unsafe.Sizeof(C.struct_flow{})]struct{}                = [unsafe.Sizeof(Flow{})]struct{}{}
	_ [unsafe.Offsetof(C.struct_flow{}.seq_out)]struct{}      = [unsafe.Offsetof(Flow{}.SeqOut)]struct{}{}
	_ [unsafe.Offsetof(C.struct_flow{}.ctrl_owed)]struct{}    = [unsafe.Offsetof(Flow{}.CtrlOwed)]struct{}{}
	_ [unsafe.Offsetof(C.struct_flow{}.data_acked)]struct{}   = [unsafe.Offsetof(Flow{}.DataAcked)]struct{}{}
	_ [unsafe.Offsetof(C.struct_flow{}.peer_added)]struct{}   = [unsafe.Offsetof(Flow{}.PeerAdded)]struct{}{}
	_ [unsafe.Offsetof(C.struct_flow{}.seq_in)]struct{}       = [unsafe.Offsetof(Flow{}.SeqIn)]struct{}{}
	_ [unsafe.Offsetof(C.struct_flow{}.ctrl_open)]struct{}    = [unsafe.Offsetof(Flow{}.CtrlOpen)]struct{}{}
	_ [unsafe.Offsetof(C.struct_flow{}.ctrl_credit)]struct{}  = [unsafe.Offsetof(Flow{}.CtrlCredit)]struct{}{}
	_ [unsafe.Offsetof(C.struct_flow{}.granted)]struct{}      = [unsafe.Offsetof(Flow{}.Granted)]struct{}{}
	_ [unsafe.Offsetof(C.struct_flow{}.data_due)]struct{}     = [unsafe.Offsetof(Flow{}.DataDue)]struct{}{}
	_ [unsafe.Offsetof(C.struct_flow{}.ctrl_reserve)]struct{} = [unsafe.Offsetof(Flow{}.CtrlReserve)]struct{}{}
	_ [unsafe.Offsetof(C.struct_flow{}.fin_want)]struct{}     = [unsafe.Offsetof(Flow{}.FinWant)]struct{}{}
	_ [unsafe.Offsetof(C.struct_flow{}.peer_finack)]struct{}  = [unsafe.Offsetof(Flow{}.PeerFinAck)]struct{}{}
	_ [unsafe.Offsetof(C.struct_flow{}.pong_owed)]struct{}    = [unsafe.Offsetof(Flow{}.PongOwed)]struct{}{}
	_ [unsafe.Offsetof(C.struct_flow{}.ping_arg)]struct{}     = [unsafe.Offsetof(Flow{}.PingArg)]struct{}{}
	_ [unsafe.Offsetof(C.struct_flow{}.rts_sent)]struct{}     = [unsafe.Offsetof(Flow{}.RTSSent)]struct{}{}
	_ [unsafe.Offsetof(C.struct_flow{}.rts_owed)]struct{}     = [unsafe.Offsetof(Flow{}.RTSOwed)]struct{}{}
	_ [unsafe.Sizeof(C.struct_frame{})]struct{}               = [unsafe.Sizeof(Frame{})]struct{}{}
)

func (f *Flow) c() *C.struct_flow { return (*C.struct_flow)(unsafe.Pointer(f)) }

// Init implements flow_init.
func (f *Flow) Init(data, ctrl, peerData, peerCtrl uint32) error {
	return asError(C.flow_init(f.c(), C.uint32_t(data), C.uint32_t(ctrl),
		C.uint32_t(peerData), C.uint32_t(peerCtrl)))
}

// AddedTold returns how many data receives added since the hello the peer has been told of.
func (f *Flow) AddedTold() uint16 { return f.Added - (f.DataWindow - f.Granted) }

// DataDueFor implements flow_data_due.
func DataDueFor(window uint16) uint16 { return uint16(C.flow_data_due(C.uint16_t(window))) }

// DataListFor implements flow_data_list.
func DataListFor(window uint16) uint16 { return uint16(C.flow_data_list(C.uint16_t(window))) }

// CtrlDueFor implements flow_ctrl_due.
func CtrlDueFor(window uint16) uint16 { return uint16(C.flow_ctrl_due(C.uint16_t(window))) }

// DataSent returns how many DATA and RTS have been sent, modulo 2^16.
func (f *Flow) DataSent() uint16 { return f.DataAcked + f.PeerDataWindow - uint16(f.DataCredit) }

// CtrlSent returns how many control frames have been sent, modulo 2^16.
func (f *Flow) CtrlSent() uint16 { return f.CtrlAcked + f.PeerCtrlWindow - uint16(f.CtrlCredit) }

// DataTold returns the data receives returned that the peer has been told of, modulo 2^16.
func (f *Flow) DataTold() uint16 { return f.DataReturned - f.DataOwed }

// CtrlTold returns the control receives returned that the peer has been told of, modulo 2^16.
func (f *Flow) CtrlTold() uint16 { return f.CtrlReturned - f.CtrlOwed }

// DataIn returns how many DATA and RTS have been received, modulo 2^16.
func (f *Flow) DataIn() uint16 { return f.DataTold() + f.Granted - uint16(f.DataOpen) }

// CtrlIn returns how many control frames have been received, modulo 2^16.
func (f *Flow) CtrlIn() uint16 { return f.CtrlTold() + f.CtrlWindow - uint16(f.CtrlOpen) }

// ReturnData implements flow_return_data.
func (f *Flow) ReturnData() { C.flow_return_data(f.c()) }

// ReturnCtrl implements flow_return_ctrl.
func (f *Flow) ReturnCtrl() { C.flow_return_ctrl(f.c()) }

// Add implements flow_add.
func (f *Flow) Add(n uint32) error { return asError(C.flow_add(f.c(), C.uint32_t(n))) }

// TellLater implements flow_tell_later.
func (f *Flow) TellLater() bool { return bool(C.flow_tell_later(f.c())) }

// TellNow implements flow_tell_now.
func (f *Flow) TellNow() { C.flow_tell_now(f.c()) }

// ToldLater implements flow_told_later.
func (f *Flow) ToldLater() bool { return bool(C.flow_told_later(f.c())) }

// Wait implements flow_wait.
func (f *Flow) Wait() { C.flow_wait(f.c()) }

// Close implements flow_close.
func (f *Flow) Close(level Level) { C.flow_close(f.c(), C.enum_flow_fin(level)) }

// Send implements flow_send.
func (f *Flow) Send(t Type, length, arg uint32) Frame {
	var h Frame
	C.flow_send(f.c(), C.enum_frame_type(t), C.uint32_t(length), C.uint32_t(arg),
		(*C.struct_frame)(unsafe.Pointer(&h)))
	return h
}

// Receive implements flow_receive.
func (f *Flow) Receive(h *Frame) error {
	return asError(C.flow_receive(f.c(), (*C.struct_frame)(unsafe.Pointer(h))))
}

// View is what the predicates of flow.h answer about one state of a flow.
type View struct {
	NextCtrl    Type // flow_next_ctrl; 0: none
	MaySendData bool
	MaySendCtrl bool
	CreditDue   bool
	FinDue      bool
	FinAckDue   bool
	Drained     bool
	Orderly     bool
	Drops       bool
	ExpectsData bool
	MayPush     bool // flow_push_error is 0
}

// View asks every predicate; pushes: some are waiting to be sent.
func (f *Flow) View(pushes bool) View {
	bits := uint32(C.cwire_view(f.c(), C.bool(pushes)))
	return View{
		NextCtrl:    Type(bits),
		MaySendData: bits&(1<<8) != 0,
		MaySendCtrl: bits&(1<<9) != 0,
		CreditDue:   bits&(1<<10) != 0,
		FinDue:      bits&(1<<11) != 0,
		FinAckDue:   bits&(1<<12) != 0,
		Drained:     bits&(1<<13) != 0,
		Orderly:     bits&(1<<14) != 0,
		Drops:       bits&(1<<15) != 0,
		ExpectsData: bits&(1<<16) != 0,
		MayPush:     bits&(1<<17) != 0,
	}
}
