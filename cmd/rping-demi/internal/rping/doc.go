// Package rping is the protocol of rdma-core's rping, both halves, on a queue pair of
// package rawqp and a connection of libos. It is written from the protocol as it is seen
// from outside; one ping is
//
//	client                                  server
//	  SEND  where its source buffer is  ->
//	                                    <-  RDMA READ of the buffer
//	                                    <-  SEND  go ahead
//	  SEND  where its sink buffer is    ->
//	                                    <-  RDMA WRITE of the text and its NUL
//	                                    <-  SEND  go ahead
//
// Every SEND is 16 bytes, see Advert. Nothing says in the protocol which ping is the last:
// the client disconnects.
//
// What lives here: the messages, the exchange, its errors. What must not: options, output,
// the choice between protocols.
package rping
