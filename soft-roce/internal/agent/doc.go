// Package agent runs commands inside a guest for the host that asks for them.
//
// It speaks package wire over any byte stream, so it is tested outside with pipes. Setting the
// guest up (mounts, modules, network) belongs to package guest, not here.
package agent
