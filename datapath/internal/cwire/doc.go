// Package cwire lets Go call the C of package wire as it is: the frame codec
// and the rules of flow control and close. It exists for tests and for the
// model, because test files cannot use cgo; the engine calls the C directly.
//
// Nothing may be decided here: every function is one call of one C function,
// and Flow is the C struct, field by field, its layout checked by the compiler.
package cwire
