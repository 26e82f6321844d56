package wire

import (
	"context"
	"net/http"
	"time"
)

const (
	// listenPatience is how long a call waits for the standalone stream before
	// it goes without: servers may send its header with the first event.
	listenPatience = time.Second
	// listenPause is the time between two tries to open it.
	listenPause = 250 * time.Millisecond
)

// listens reports whether the server may ask something on the standalone stream
// (GET) during a request. Servers of the TypeScript SDK do so on revisions
// before 2026-07-28, unless the tool says which request a question belongs to.
func (c *Client) listens(conn *Conn, op *Op, r Request) bool {
	return op.Asks && conn.SessionID != "" && !modern(conn.Version) && r.Method == "tools/call"
}

// listenDuring holds the standalone stream while call runs, and answers what
// the server asks there. Nothing of it is left when it returns.
func (c *Client) listenDuring(ctx context.Context, conn *Conn, op *Op, call func()) {
	ctx, stop := context.WithCancel(ctx)
	open, ended := make(chan struct{}), make(chan struct{})
	own := &Op{MaxBytes: op.MaxBytes, OnRequest: op.OnRequest, Asks: true}
	go func() {
		defer close(ended)
		c.hold(ctx, conn, own, open)
	}()
	defer func() { // also when a function of the host panics
		stop()
		<-ended
	}()
	patience := time.NewTimer(listenPatience)
	select {
	case <-open:
	case <-ended:
	case <-patience.C:
	case <-ctx.Done():
	}
	patience.Stop()
	call()
}

// hold opens the standalone stream, again when it ends, until ctx is done or the
// server has none. It closes open when the stream is open for the first time.
// 409 says that another holds it: it may be free in a moment.
func (c *Client) hold(ctx context.Context, conn *Conn, op *Op, open chan<- struct{}) {
	x := &exchange{c: c, conn: conn, op: op, standalone: true}
	defer x.asked.end()
	var at place
	for {
		header := conn.header(Request{}, acceptStream)
		if at.id != "" {
			header["Last-Event-Id"] = []string{at.id}
		}
		resp, err := c.send(ctx, http.MethodGet, header, nil)
		switch {
		case err != nil:
			return
		case resp.StatusCode < 300 && mediaType(resp.Header) == "text/event-stream":
			if open != nil {
				close(open)
				open = nil
			}
			x.secrets = resp.Request
			err = x.events(ctx, resp, &at)
			x.answered = false // a response that belongs to no request
			_ = resp.Body.Close()
			if ctx.Err() != nil || op.MaxBytes <= 0 {
				return
			}
			c.Log.DebugContext(ctx, "the standalone stream of the MCP server has ended", "error", err)
		default:
			drain(resp)
			if resp.StatusCode != http.StatusConflict {
				return
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(max(at.retry, listenPause)):
		}
	}
}
