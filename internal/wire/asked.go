package wire

import (
	"bytes"
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
)

// asked are the requests of the server that are answered beside the reading of
// one stream, one after the other.
type asked struct {
	queue chan question   // nil before the first
	ctx   context.Context // of all; stop ends it
	stop  context.CancelFunc
	ended chan struct{}

	mu   sync.Mutex
	open []question // in their order
}

// question is a request of the server in the queue. Its context ends when the
// server withdraws it.
type question struct {
	ctx    context.Context
	cancel context.CancelFunc
	message
}

// answerBeside answers a request of the server on another goroutine, while this one
// reads the stream: the server may withdraw the request, or answer the call without it.
func (x *exchange) answerBeside(ctx context.Context, m message) {
	a := &x.asked
	if a.queue == nil {
		a.ctx, a.stop = context.WithCancel(ctx)
		a.queue, a.ended = make(chan question, maxReplies), make(chan struct{})
		go func() {
			defer close(a.ended)
			x.answerQueue(a.ctx)
		}()
	}
	m = message{id: bytes.Clone(m.id), method: bytes.Clone(m.method), params: bytes.Clone(m.params)}
	ctx, cancel := context.WithCancel(a.ctx)
	q := question{ctx, cancel, m}
	a.mu.Lock()
	a.open = append(a.open, q)
	a.mu.Unlock()
	a.queue <- q // has room for all that reply lets through
}

// answerQueue answers until the queue ends. A question that is withdrawn before its
// turn is not asked. A question that is open when ctx ends is not answered, because the
// call has ended. On the standalone stream the question may belong to another call: the
// server then gets what OnRequest returns after its context has ended.
func (x *exchange) answerQueue(ctx context.Context) {
	var last time.Time // deadline for the answers that are sent after ctx has ended
	for q := range x.asked.queue {
		if q.ctx.Err() != nil && (ctx.Err() == nil || !x.standalone) {
			x.asked.next()
			continue
		}
		reply := x.replyBeside(q)
		withdrawn := q.ctx.Err() != nil && ctx.Err() == nil
		x.asked.next()
		switch {
		case withdrawn:
		case ctx.Err() == nil:
			_ = x.c.notify(ctx, x.conn, reply) // notify has logged it
		case x.standalone:
			if last.IsZero() {
				last = time.Now().Add(cancelTimeout)
			}
			x.replyLate(ctx, last, reply)
		}
	}
}

// replyBeside is replyTo on a goroutine of this package, where a panic of the
// function that answers would end the process.
func (x *exchange) replyBeside(q question) (reply []byte) {
	defer func() {
		if value := recover(); value != nil {
			x.c.Log.ErrorContext(q.ctx, "answering a request of the MCP server panicked", "method", clean(string(q.method)), "panic", fmt.Sprint(value), "stack", string(debug.Stack()))
			reply = q.reply(nil, &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Message: "Internal error"})
		}
	}()
	return x.replyTo(q.ctx, q.message)
}

// replyLate sends a reply although ctx has ended.
func (x *exchange) replyLate(ctx context.Context, last time.Time, reply []byte) {
	ctx, stop := context.WithDeadline(context.WithoutCancel(ctx), last)
	defer stop()
	_ = x.c.notify(ctx, x.conn, reply) // notify has logged it
}

// withdraw ends the context of the first question with an ID, which is as the
// server spells it. A server that wrongly uses an ID twice goes on with the next.
func (a *asked) withdraw(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, q := range a.open {
		if string(q.id) == id && q.ctx.Err() == nil {
			q.cancel()
			return
		}
	}
}

// next takes the first question, which is over, from the open ones.
func (a *asked) next() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.open[0].cancel()
	a.open = a.open[1:]
}

// end ends the open questions, and returns when none of their work runs any more.
func (a *asked) end() {
	if a.queue == nil {
		return
	}
	a.stop()
	close(a.queue)
	<-a.ended
}
