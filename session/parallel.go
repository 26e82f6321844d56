package session

import (
	"fmt"
	"runtime/debug"
	"sync"
)

// panics takes the first panic of several goroutines to the one that waits for
// them, as the functions of [Config] may panic. On a goroutine of this package a
// panic would end the process, and the host could not recover from it.
type panics struct {
	first sync.Once
	value any // with the stack
}

// catch is to be deferred by each of the goroutines.
func (p *panics) catch() {
	if value := recover(); value != nil {
		p.first.Do(func() { p.value = fmt.Sprintf("%v\n\n%s", value, debug.Stack()) })
	}
}

// raise panics if one of the goroutines has. All of them have ended.
func (p *panics) raise() {
	if p.value != nil {
		panic(p.value)
	}
}

// parallel is a [sync.WaitGroup] whose Wait panics if one of the functions has.
type parallel struct {
	running sync.WaitGroup
	panics  panics
}

// Go runs fn on a goroutine.
func (p *parallel) Go(fn func()) {
	p.running.Go(func() {
		defer p.panics.catch()
		fn()
	})
}

// Wait waits for all functions.
func (p *parallel) Wait() {
	p.running.Wait()
	p.panics.raise()
}
