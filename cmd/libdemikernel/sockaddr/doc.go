// Package sockaddr turns the socket addresses of C programs (struct sockaddr_in and
// sockaddr_in6, see ip(7) and ipv6(7)) into Go's and back.
//
// It is pure: bytes in, values out, no cgo and no look-up of interfaces. What a socket may
// do with an address is not decided here.
package sockaddr
