// Package connect measures what it costs to set a connection up, on both sides and step by step,
// beside librdmacm and libibverbs alone (testdata/bare.c). docs/benchmarks.md tells what has been measured.
//
// What lives here: the contestants, each a process of its own that makes one connection when it
// is told to; the benchmark, which lets them take turns within one boot and compares what they
// took round by round; the counts of system calls, packets and CM messages of a connection; and
// the test that holds these counts. All of it needs an RDMA device: build tag rdma. What needs
// none, the judgement of the figures and the reading of traces, is in stats.go and trace.go.
package connect
