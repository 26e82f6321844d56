package wire

import (
	"net/http"
	"sync"
)

// Log is an append-only list that is safe for concurrent use.
// Its zero value is empty and ready.
type Log[T any] struct {
	mu      sync.Mutex
	entries []*T
}

// Add appends v and returns a function that edits the entry in place, for
// what is known only later (the status of the answer).
func (l *Log[T]) Add(v T) (edit func(func(*T))) {
	entry := &v
	l.mu.Lock()
	l.entries = append(l.entries, entry)
	l.mu.Unlock()
	return func(f func(*T)) {
		l.mu.Lock()
		defer l.mu.Unlock()
		f(entry)
	}
}

// Select returns copies of the entries that keep accepts, oldest first.
// A nil keep accepts all.
func (l *Log[T]) Select(keep func(*T) bool) []T {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []T
	for _, e := range l.entries {
		if keep == nil || keep(e) {
			out = append(out, *e)
		}
	}
	return out
}

// Reset forgets every entry.
func (l *Log[T]) Reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = nil
}

// StatusWriter reports the status of an answer as soon as it is written.
type StatusWriter struct {
	http.ResponseWriter
	report func(status int)
	done   bool
}

// NewStatusWriter wraps w; report is called at most once.
func NewStatusWriter(w http.ResponseWriter, report func(status int)) *StatusWriter {
	return &StatusWriter{ResponseWriter: w, report: report}
}

// WriteHeader implements [http.ResponseWriter].
func (w *StatusWriter) WriteHeader(status int) {
	if !w.done && status >= http.StatusOK {
		w.done = true
		w.report(status)
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements [http.ResponseWriter].
func (w *StatusWriter) Write(b []byte) (int, error) {
	if !w.done {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(b)
}

// Flush implements [http.Flusher], which event streams need.
func (w *StatusWriter) Flush() {
	if !w.done {
		w.WriteHeader(http.StatusOK)
	}
	_ = http.NewResponseController(w.ResponseWriter).Flush()
}

// Unwrap lets [http.ResponseController] reach the underlying writer.
func (w *StatusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
