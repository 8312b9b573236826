// Package gotest finds and compiles the Go tests that need RDMA, and prints their results as
// "go test" does. Where the compiled tests run is its caller's business.
package gotest
