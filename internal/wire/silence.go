package wire

import (
	"context"
	"errors"
	"net/http/httptrace"
	"sync/atomic"
	"time"
)

// errSilent is the error of a request with a patience that ran out.
var errSilent = errors.New("wire: the server does not answer")

// silence stops a request that the server does not answer in time. The time of
// connecting does not count, nor does what [Client.HTTP] does before and after,
// such as authorizing.
type silence struct {
	patience time.Duration
	timer    *time.Timer
	over     atomic.Bool
}

// withPatience returns a context for a request, and the silence that calls stop when the
// server does not answer within patience.
func withPatience(ctx context.Context, stop func(), patience time.Duration) (context.Context, *silence) {
	s := &silence{patience: patience}
	s.timer = time.AfterFunc(patience, func() {
		s.over.Store(true)
		stop()
	})
	s.timer.Stop()
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn:              func(httptrace.GotConnInfo) { s.begin() }, // WroteRequest may come after the first byte
		GotFirstResponseByte: s.end,
	}), s
}

func (s *silence) begin() { s.timer.Reset(s.patience) }
func (s *silence) end()   { s.timer.Stop() }
