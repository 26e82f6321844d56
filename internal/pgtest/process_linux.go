package pgtest

import "syscall"

// attributes run a child as who, and have the kernel end it with its parent.
func attributes(who *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: who, Pdeathsig: syscall.SIGQUIT}
}
