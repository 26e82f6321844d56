package wire

import (
	"bytes"
	"context"
	"sync"
	"time"
)

// asked are the requests of the server that are answered beside the reading of
// one stream, one after the other.
type asked struct {
	queue chan question   // nil before the first
	ctx   context.Context // of all; stop ends it
	stop  context.CancelFunc
	ended chan struct{}

	mu   sync.Mutex
	open map[string]context.CancelFunc // by the ID that the server has given
}

// question is a request of the server in the queue. Its context ends when the
// server withdraws it.
type question struct {
	ctx context.Context
	message
}

// answerBeside has a request answered while the stream is read on: the server may
// withdraw it, or answer the call without it.
func (x *exchange) answerBeside(ctx context.Context, m message) {
	a := &x.asked
	if a.queue == nil {
		a.ctx, a.stop = context.WithCancel(ctx)
		a.queue, a.ended = make(chan question, maxReplies), make(chan struct{})
		a.open = make(map[string]context.CancelFunc)
		go func() {
			defer close(a.ended)
			x.answerQueue(a.ctx)
		}()
	}
	m = message{id: bytes.Clone(m.id), method: bytes.Clone(m.method), params: bytes.Clone(m.params)}
	ctx, cancel := context.WithCancel(a.ctx)
	a.mu.Lock()
	a.open[string(m.id)] = cancel
	a.mu.Unlock()
	a.queue <- question{ctx, m} // has room for all that reply lets through
}

// answerQueue answers until the queue ends. A question that is open when ctx ends
// is not answered: the server has the end of the call. On the standalone stream it
// may belong to another call, and so gets what OnRequest makes of the end.
func (x *exchange) answerQueue(ctx context.Context) {
	var last time.Time // to answer what was open at the end
	for q := range x.asked.queue {
		if ctx.Err() != nil && !x.standalone {
			continue
		}
		reply := x.replyTo(q.ctx, q.message)
		withdrawn := q.ctx.Err() != nil && ctx.Err() == nil
		x.asked.forget(string(q.id))
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

// replyLate sends a reply although ctx has ended.
func (x *exchange) replyLate(ctx context.Context, last time.Time, reply []byte) {
	ctx, stop := context.WithDeadline(context.WithoutCancel(ctx), last)
	defer stop()
	_ = x.c.notify(ctx, x.conn, reply) // notify has logged it
}

// withdraw ends the context of a question. id is as the server spells it.
func (a *asked) withdraw(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if cancel := a.open[id]; cancel != nil {
		cancel()
	}
}

func (a *asked) forget(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if cancel := a.open[id]; cancel != nil {
		cancel()
		delete(a.open, id)
	}
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
