//go:build !linux

package redistest

import "syscall"

// dieWithParent does nothing: this kernel cannot tie a child's life to its parent's.
// Only the code that started a child ends it.
func dieWithParent() *syscall.SysProcAttr { return nil }
