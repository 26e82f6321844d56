//go:build !linux

package redistest

import "syscall"

// dieWithParent does nothing where the kernel has nothing like it; children
// are then ended by whoever started them only.
func dieWithParent() *syscall.SysProcAttr { return nil }
