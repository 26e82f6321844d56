package httpapi

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	// maxLinesPerMinute is how many failures of one kind are logged in a minute,
	// so that a flood of refused requests does not flood the log.
	maxLinesPerMinute = 10
	// maxFailureKinds bounds the kinds that are counted in a minute, because
	// callers may name any number of servers. Further ones count by code alone.
	maxFailureKinds = 1000
)

// failureKind is what failures are counted by.
type failureKind struct {
	endpoint, code, server string
}

// failureCount counts the failures of a minute that were logged, and the ones that
// were left out. The zero value is ready for use.
type failureCount struct {
	mu     sync.Mutex
	window int64 // the minute, since 1970
	kinds  map[failureKind]int
}

// add counts a failure, and reports whether it is to be logged. When a minute is
// over, it also returns how many failures of each kind that minute left out.
func (f *failureCount) add(kind failureKind, now time.Time) (logged bool, leftOut map[failureKind]int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if window := now.Unix() / 60; window != f.window || f.kinds == nil {
		for kind, n := range f.kinds {
			if n > maxLinesPerMinute {
				if leftOut == nil {
					leftOut = make(map[failureKind]int)
				}
				leftOut[kind] = n - maxLinesPerMinute
			}
		}
		f.window, f.kinds = window, make(map[failureKind]int)
	}
	if _, known := f.kinds[kind]; !known && len(f.kinds) >= maxFailureKinds {
		kind = failureKind{code: kind.code}
	}
	f.kinds[kind]++
	return f.kinds[kind] <= maxLinesPerMinute, leftOut
}

// logFailure logs a failure, unless there were many of its kind in this minute.
func (h *Handler) logFailure(ctx context.Context, level slog.Level, kind failureKind, attrs ...slog.Attr) {
	if !h.cfg.Logger.Enabled(ctx, level) {
		return
	}
	logged, leftOut := h.failures.add(kind, time.Now())
	for kind, n := range leftOut {
		h.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "mcpoauth: further requests failed in a minute",
			slog.Int("count", n), slog.String("endpoint", kind.endpoint), slog.String("code", kind.code), slog.String("server", kind.server))
	}
	if logged || level >= slog.LevelError {
		h.cfg.Logger.LogAttrs(ctx, level, "mcpoauth: request failed", attrs...)
	}
}

// logSession returns what names the session and the tool of a request in the log.
func (c *call) logSession(server, key string) (attrs []slog.Attr) {
	for _, a := range [...]struct{ name, value string }{{"session", key}, {"server", server}, {"tool", c.tool}} {
		if a.value != "" {
			attrs = append(attrs, slog.String(a.name, a.value))
		}
	}
	return attrs
}
