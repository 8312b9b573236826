// Package guard stands between a C program and Go code that it calls: no panic passes it.
//
// It knows nothing of C and nothing of sockets: functions in, errnos out.
package guard
