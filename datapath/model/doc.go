// Package model explores the rules of flow control and close (flow.h of package
// wire) over every interleaving of two endpoints joined by two FIFO channels.
//
// The rules are not modelled: they are called, as the C functions that the
// engine compiles. What is modelled is the world around them: applications that
// push, pop, close or stay silent for ever at any moment, engines that send
// whenever the rules let them, channels that deliver whenever they like, and a
// peer that disconnects once the rules say that it may. The set of states is
// finite because only differences of the cumulative counts matter: a state is
// stored by those differences, and rebuilt with counts next to 2^16, so that
// they wrap while exploring.
//
// [Explore] visits every reachable state of a [Config] and checks the
// properties in properties.go. Rules that are wrong on purpose ([Mutation])
// prove that it would find a deadlock, a livelock, a lost credit or a lost message.
//
// Nothing here is linked into the library, and nothing here does I/O, keeps
// time or uses goroutines.
package model
