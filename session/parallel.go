package session

import (
	"fmt"
	"runtime/debug"
	"sync"
)

// parallel is a [sync.WaitGroup] whose Wait panics if one of the functions has, as
// the functions of [Config] may that they call. On a goroutine of this package a
// panic would end the process, and the host could not recover from it.
type parallel struct {
	running  sync.WaitGroup
	first    sync.Once
	panicked any // with the stack
}

// Go runs fn on a goroutine.
func (p *parallel) Go(fn func()) {
	p.running.Go(func() {
		defer func() {
			if value := recover(); value != nil {
				p.first.Do(func() { p.panicked = fmt.Sprintf("%v\n\n%s", value, debug.Stack()) })
			}
		}()
		fn()
	})
}

// Wait waits for all functions.
func (p *parallel) Wait() {
	p.running.Wait()
	if p.panicked != nil {
		panic(p.panicked)
	}
}
