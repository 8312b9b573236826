// Package wire holds the C headers of Catmint's protocol on an established
// connection: frame.h, the layout of a frame and the judgement of received
// bytes; flow.h, the rules of flow control, sequence and close. They are pure C:
// the engine in datapath includes them, and the model in datapath/model explores
// the very same functions.
//
// Anything with state, memory, verbs or a clock does not belong here, nor does
// the hello, which travels in the connection manager's private data (libos).
// docs/protocol.md is the page to implement from.
package wire
