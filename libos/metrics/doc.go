// Package metrics serves numbers over HTTP in the text format of Prometheus.
//
// It is a hundred lines of its own, and not net/http with client_golang, because it is part of
// every program that uses the library, those included that never serve a metric: net/http
// would double the C library (5.2 to 11 MB, and 4 MB more of resident memory), and
// client_golang triple it. Its tests read what it writes with net/http and Prometheus's own
// parser.
//
// What lives here: the format, and the server. What must not: what is counted (package libos).
package metrics
