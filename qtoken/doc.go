// Package qtoken holds queue tokens: their 64-bit encoding, and the table of operations
// that tokens name.
//
// The table is C, inline in qtoken.h, because the data plane completes and redeems tokens
// without entering Go; each engine of package datapath owns one. Go sees a token as a
// [Token] and reaches the table through package datapath only. What an operation does,
// who may wait for it and how sleepers are woken does not belong here.
package qtoken
