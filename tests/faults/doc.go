// Faults does harm to one of two Soft-RoCE hosts while programs of ours have operations of every
// kind outstanding on both (make test-faults), and prints as a table what became of each fault: with
// what every token ended and when, what was lost, and what was left behind.
//
// What lives here: the faults, and the judgement. It runs outside of the hosts, which it starts with
// package testbed, and makes no use of RDMA. Folder agent has the program that runs on the hosts,
// folder report the words in which the two speak. What must not: faults that one host or a simulated
// one shows as well; those are tested where they are dealt with.
package main
