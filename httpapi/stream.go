package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpoauth/mcpoauth/session"
)

// maxPendingProgress is how many progress events wait for a slow reader; then
// the oldest is dropped, because the newest says more.
const maxPendingProgress = 16

// stream is the answer to a tool call as server-sent events (HTML standard,
// "Server-sent events").
type stream struct {
	c        *call
	out      paced
	progress chan mcp.ProgressNotificationParams
	inputs   chan session.OpenInput
	begun    bool
	err      error // the first failure to write
}

// streamTool calls a tool and answers with events. Nothing is written before
// there is an event to write, so that a failure until then is a plain answer.
func (c *call) streamTool(caller session.Caller, name string, args json.RawMessage, ask session.Ask) error {
	s := &stream{c: c, out: c.h.paced(c.w), progress: make(chan mcp.ProgressNotificationParams, maxPendingProgress), inputs: make(chan session.OpenInput)}
	ctx, cancel := context.WithCancel(c.r.Context())
	defer cancel()
	if ask.Form || ask.URL {
		ask.OnInput = func(in session.OpenInput) {
			select {
			case s.inputs <- in:
			case <-ctx.Done():
			}
		}
	}

	// The call runs here, so that a panic in it is net/http's to handle; its
	// progress is written beside it, so that a slow reader does not hold up
	// the connection to the MCP server.
	result, err := func() (json.RawMessage, error) {
		returned, written := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(written)
			s.writeProgress(returned, cancel)
		}()
		defer func() {
			close(returned)
			<-written
		}()
		result, err := c.h.manager.CallToolAsking(ctx, caller, c.sessionID, name, args, ask, s.push)
		if err != nil {
			return nil, err
		}
		return result.MarshalJSON()
	}()
	switch {
	case s.err != nil:
		c.logGone(s.err)
		return nil
	case err != nil && !s.begun:
		return err
	case err != nil:
		s.fail(err)
	default:
		s.event("result", result)
	}
	s.end()
	return nil
}

// push takes a progress notification without ever waiting.
func (s *stream) push(p mcp.ProgressNotificationParams) {
	for {
		select {
		case s.progress <- p:
			return
		default:
		}
		select {
		case <-s.progress:
		default:
		}
	}
}

// writeProgress writes progress and heartbeats until the call has returned and
// what it reported is written. When the client has gone, it gives the call up.
func (s *stream) writeProgress(returned <-chan struct{}, giveUp context.CancelFunc) {
	heartbeat := time.NewTicker(s.c.h.cfg.HeartbeatInterval)
	defer heartbeat.Stop()
	for s.err == nil {
		select {
		case p := <-s.progress:
			s.writeOne(p)
			heartbeat.Reset(s.c.h.cfg.HeartbeatInterval)
		case in := <-s.inputs:
			s.encode("input", InputAsked{InputID: in.ID, Requests: in.Requests})
		case <-heartbeat.C:
			s.send([]byte(": still working\n\n"))
		case <-returned:
			for s.err == nil && len(s.progress) > 0 {
				s.writeOne(<-s.progress)
			}
			return
		}
	}
	giveUp()
}

// writeOne writes one progress event. The SDK's type is not used as it is: it
// has a _meta member, which is between the server and its client.
func (s *stream) writeOne(p mcp.ProgressNotificationParams) {
	s.encode("progress", ToolProgress{ProgressToken: p.ProgressToken, Progress: p.Progress, Total: p.Total, Message: p.Message})
}

// encode sends one event of our own making.
func (s *stream) encode(name string, data any) {
	buf := s.c.h.buffer()
	defer s.c.h.release(buf)
	if encodeJSON(buf, data) == nil {
		s.event(name, buf.Bytes())
	}
}

// fail ends a stream that has begun with an error.
func (s *stream) fail(err error) {
	if s.c.clientGone() {
		s.c.logGone(err)
		return
	}
	a := s.c.answerTo(err)
	s.c.logAnswer(a, err)
	name := "error"
	if a.status == http.StatusAccepted {
		name = "inputRequired"
	}
	s.encode(name, a.body)
}

// event sends one event. Line breaks between JSON tokens would end its data.
func (s *stream) event(name string, data []byte) {
	if bytes.ContainsAny(data, "\r\n") {
		buf := s.c.h.buffer()
		defer s.c.h.release(buf)
		if err := json.Compact(buf, data); err != nil {
			s.err = err
			return
		}
		data = buf.Bytes()
	}
	s.send([]byte("event: "+name+"\ndata: "), data, []byte("\n\n"))
}

// send writes and flushes the parts of an event. A host's own write timeout, made
// for short answers, is extended with every piece.
func (s *stream) send(parts ...[]byte) {
	if s.err != nil {
		return
	}
	s.begin()
	for _, part := range parts {
		if s.err = s.out.write(part); s.err != nil {
			return
		}
	}
	s.out.flush()
}

// begin sends the header. Whatever may come, the browser must have its binding
// by now.
func (s *stream) begin() {
	if s.begun {
		return
	}
	s.begun = true
	s.c.setBinding()
	header := s.c.w.Header()
	header.Set("Content-Type", streamType)
	header.Set("X-Accel-Buffering", "no") // nginx would collect events
	s.c.w.WriteHeader(http.StatusOK)
}

// end takes the deadline off again, for the next request on the connection.
func (s *stream) end() {
	if s.begun && s.err == nil {
		s.out.end()
	}
}
