// Package testlog keeps what a test's code writes, for the test to read meanwhile.
package testlog

import (
	"strings"
	"sync"
)

// Buffer is an [io.Writer] that is safe for concurrent use. Its zero value is empty.
type Buffer struct {
	mu   sync.Mutex
	text strings.Builder
}

// Write implements [io.Writer].
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// String returns everything that was written.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
