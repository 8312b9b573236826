// Package roce turns the Linux system it runs on into a Soft-RoCE host: it makes the network device
// ready, puts an rxe RDMA device on it and waits until that can be used. The guest's init uses it
// inside QEMU, and soft-roce itself where the running kernel offers rdma_rxe.
//
// It needs CAP_NET_ADMIN and the initial network namespace (rxe works in no other), and loads no
// kernel modules.
package roce
