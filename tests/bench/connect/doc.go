// Package connect measures what it costs to set a connection up, on both sides and step by step,
// beside librdmacm and libibverbs alone (testdata/bare.c). docs/benchmarks.md tells what has been measured.
//
// What lives here: the contestants, each a process of its own that makes one connection when it
// is told to; the stock tools, cmtime and ucmatose; the benchmark, which lets all of them take
// turns within one boot and compares what they took round by round; the counts of system calls,
// packets and CM messages of a connection; and the test that holds these counts. All of it needs
// an RDMA device: build tag rdma. What needs none, the judgement of the figures and the reading
// of traces and of what cmtime prints, is in stats.go, trace.go and tools.go.
package connect
