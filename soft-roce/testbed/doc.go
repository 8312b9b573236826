// Package testbed starts one or two Soft-RoCE hosts in QEMU and runs commands on them. The command
// soft-roce is built on it, and Go tests that must do harm to a host from outside (cut its cable,
// stop it, switch it off) use it directly:
//
//	bed, err := testbed.Start(ctx, testbed.Config{Hosts: 2})
//	defer bed.Close()
//	server, err := bed.A().Start(testbed.Command{Args: []string{"build/rping-demi", "-s"}})
//	...
//	bed.A().SetLink(false)
//
// It makes no use of RDMA itself, and needs neither root nor RDMA on the machine that it runs on.
package testbed
