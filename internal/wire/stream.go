package wire

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"
)

const (
	// maxResumes is how often in a row a stream is resumed without a new event.
	maxResumes = 5
	// minRetry and maxRetry bound the pause before a stream is resumed, which
	// servers choose.
	minRetry = 10 * time.Millisecond
	maxRetry = 30 * time.Second
	// defaultRetry is the pause if the server names none.
	defaultRetry = time.Second
	// drainTime is how long an answered stream may take to end. The connection
	// of a stream that ends in time can be used again.
	drainTime = 50 * time.Millisecond
)

// errEnded is the cause of an [ErrBroken] about a stream that ended in an orderly
// way.
var errEnded = errors.New("the event stream has no response")

// place is where a stream is resumed.
type place struct {
	id    string
	retry time.Duration
}

// stream reads an event stream up to the response. Where the revision and the
// server allow it, a stream that ended before is resumed.
func (x *exchange) stream(ctx context.Context, stop func(), resp *http.Response) error {
	x.pooled = true
	at := place{retry: defaultRetry}
	for idle := 0; ; {
		before := at.id
		err := x.events(ctx, resp, &at)
		if x.answered {
			finish(resp, stop)
			return nil
		}
		_ = resp.Body.Close()
		switch {
		case errors.Is(err, ErrTooLarge), errors.Is(err, ErrTooDeep):
			return err
		case err == io.EOF:
			if x.otherIDs == 1 {
				return nil
			}
			err = &brokenError{cause: errEnded}
		}
		if modern(x.conn.Version) || at.id == "" {
			return x.settle(err)
		}
		if idle++; at.id != before {
			idle = 0
		}
		if resp, err = x.resume(ctx, at, idle, err); err != nil {
			return x.settle(err)
		}
	}
}

// events handles the events of one HTTP answer, until x is answered or it
// returns why not. [io.EOF] is an orderly end.
func (x *exchange) events(ctx context.Context, resp *http.Response, at *place) error {
	e := newEvents(resp.Body, x.op)
	defer e.release()
	for !x.answered {
		ev, err := e.next()
		if err != nil {
			return err
		}
		if ev.data != nil && ev.kind == "" {
			if err := x.messages(ctx, ev.data); err == ErrTooDeep {
				return err
			} else if err != nil {
				x.c.Log.DebugContext(ctx, "an event of the MCP server is no message")
			}
		}
		if ev.hasID {
			at.id = ev.id
		}
		if ev.retry >= 0 {
			at.retry = min(max(time.Duration(ev.retry)*time.Millisecond, minRetry), maxRetry)
		}
	}
	return nil
}

// resume asks for the rest of a stream. idle is how often that has happened
// without an event, cause why the stream has ended.
func (x *exchange) resume(ctx context.Context, at place, idle int, cause error) (*http.Response, error) {
	header := x.conn.header(Request{}, acceptStream)
	header["Last-Event-Id"] = []string{at.id}
	for ; idle < maxResumes; idle++ {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(at.retry):
		}
		resp, err := x.c.send(ctx, http.MethodGet, header, nil)
		switch {
		case err != nil:
			cause = &brokenError{cause: err}
		case resp.StatusCode < 300 && mediaType(resp.Header) == "text/event-stream":
			return resp, nil
		default:
			drain(resp)
			if resp.StatusCode < 500 && resp.StatusCode != http.StatusTooManyRequests {
				return nil, cause
			}
		}
		at.retry = min(2*at.retry, maxRetry)
	}
	return nil, cause
}

// finish reads the end of a stream whose response has come.
func finish(resp *http.Response, stop func()) {
	timer := time.AfterFunc(drainTime, stop)
	_, _ = io.CopyN(io.Discard, resp.Body, maxDrain)
	timer.Stop()
	_ = resp.Body.Close()
}
