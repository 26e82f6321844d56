//go:build unix && !linux

package pgtest

import "syscall"

// attributes run a child as who.
func attributes(who *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: who}
}
