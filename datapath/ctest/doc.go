// Package ctest compiles C programs with the sanitizers and runs them: the unit tests of
// what works without Go (arenas, the token table, the engine). The race detector and Go's
// own fuzzing do not see C; the address, undefined-behaviour and thread sanitizers do.
//
// The programs are in testdata, one a topic, written against testdata/test.h. No code of
// the product belongs here.
package ctest
