package wire_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/wire"
)

// questions is a server that has its questions in the stream of a call, and ends
// the call when the test says so.
type questions struct {
	*fake
	events  chan string // what it sends in the stream
	replies chan rpc    // what it is answered
	gone    chan struct{}
}

func newQuestions(t *testing.T) *questions {
	t.Helper()
	q := &questions{events: make(chan string), replies: make(chan rpc, 200), gone: make(chan struct{})}
	q.fake = newFake(t, func(w http.ResponseWriter, r *http.Request, m rpc) {
		switch {
		case r.Method == http.MethodGet:
			w.WriteHeader(http.StatusMethodNotAllowed)
		case m.Method == "":
			q.replies <- m
			w.WriteHeader(http.StatusAccepted)
		case m.Method == "tools/call":
			w.Header().Set("Content-Type", "text/event-stream")
			for {
				select {
				case event := <-q.events:
					if event == "result" {
						_, _ = fmt.Fprintf(w, `data: {"jsonrpc":"2.0","id":%s,"result":{}}`+"\n\n", m.ID)
						return
					}
					_, _ = io.WriteString(w, "data: "+event+"\n\n")
					_ = http.NewResponseController(w).Flush()
				case <-r.Context().Done():
					close(q.gone)
					return
				}
			}
		default:
			w.WriteHeader(http.StatusAccepted)
		}
	})
	return q
}

// call makes a call whose questions answer answers.
func (q *questions) call(ctx context.Context, answer func(ctx context.Context, params string) any) (ended chan error) {
	op := q.NewOp()
	op.Asks = true
	op.OnRequest = func(ctx context.Context, _ string, params json.RawMessage) (any, error) {
		return answer(ctx, string(params)), nil
	}
	ended = make(chan error, 1)
	go func() {
		_, err := q.Call(ctx, connOf("2025-11-25"), op, toolCall)
		ended <- err
	}()
	return ended
}

func ask(id int) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"elicitation/create","params":{"n":%d}}`, id, id)
}

// A question does not hold up the stream that it came in: what the server does
// meanwhile counts.
func TestQuestionsAreAnsweredBesideTheAnswer(t *testing.T) {
	t.Parallel()
	for name, event := range map[string]string{
		"the server has ended the call":       "result",
		"the server has withdrawn a question": `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := newQuestions(t)
			open, closed := make(chan struct{}), make(chan struct{})
			ended := q.call(t.Context(), func(ctx context.Context, params string) any {
				if params == `{"n":2}` {
					return "two"
				}
				close(open)
				<-ctx.Done()
				close(closed)
				return "too late"
			})
			q.events <- ask(1)
			<-open
			q.events <- event
			<-closed
			if event != "result" {
				q.events <- ask(2)
				reply := <-q.replies
				require.Equal(t, `2 "two"`, string(reply.ID)+" "+string(reply.Result), "the next question has its turn")
				q.events <- "result"
			}
			require.NoError(t, <-ended)
			require.Empty(t, q.replies, "a question that is over gets no answer")
		})
	}
}

// One question of a stream is asked after the other, and none is asked when the
// caller has given up.
func TestQuestionsHaveTheirTurn(t *testing.T) {
	t.Parallel()
	q := newQuestions(t)
	ctx, giveUp := context.WithCancel(t.Context())
	turn, asked := make(chan string), make(chan string, 10)
	ended := q.call(ctx, func(ctx context.Context, params string) any {
		asked <- params
		select {
		case answer := <-turn:
			return answer
		case <-ctx.Done():
			return nil
		}
	})
	for id := 1; id <= 5; id++ {
		q.events <- ask(id)
	}
	for id := 1; id <= 3; id++ {
		require.Equal(t, fmt.Sprintf(`{"n":%d}`, id), <-asked)
		require.Empty(t, asked)
		turn <- "yes"
		require.Equal(t, fmt.Sprint(id), string((<-q.replies).ID))
	}
	<-asked
	giveUp()
	require.ErrorIs(t, <-ended, context.Canceled)
	<-q.gone
	require.Empty(t, asked)
	require.Empty(t, q.replies)
}

// A question on the standalone stream may belong to another call, so it gets an
// answer also when the call that holds the stream ends.
func TestQuestionsOnTheStandaloneStreamOutliveTheCall(t *testing.T) {
	t.Parallel()
	replies, open := make(chan string, 1), make(chan struct{})
	f := newFake(t, func(w http.ResponseWriter, r *http.Request, m rpc) {
		switch {
		case r.Method == http.MethodGet:
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "data: "+ask(1)+"\n\n")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		case m.Method == "tools/call":
			<-open
			w.Header().Set("Content-Type", "application/json")
			_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":{}}`, m.ID)
		default:
			replies <- string(m.ID) + string(m.Result)
			w.WriteHeader(http.StatusAccepted)
		}
	})
	op := f.NewOp()
	op.Asks = true
	op.OnRequest = func(ctx context.Context, _ string, _ json.RawMessage) (any, error) {
		close(open)
		<-ctx.Done()
		return "cancel", nil
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := f.Call(ctx, connOf("2025-11-25"), op, toolCall)
	require.NoError(t, err)
	require.Equal(t, `1"cancel"`, <-replies)
}

// A connection says what was declared when it was made.
func TestHandshakeDeclares(t *testing.T) {
	t.Parallel()
	f := newFake(t, func(w http.ResponseWriter, _ *http.Request, m rpc) {
		if m.Method != "initialize" {
			w.WriteHeader(http.StatusAccepted)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":{"protocolVersion":"2025-11-25","capabilities":{}}}`, m.ID)
	})
	for declared, want := range map[string]string{"": "", `{"elicitation":{"form":{}}}`: `{"elicitation":{"form":{}}}`} {
		client := *f.Client
		client.Handshake = json.RawMessage(declared)
		if declared == "" {
			client.Handshake = nil
		}
		conn, err := client.Negotiate(t.Context(), client.NewOp(), true)
		require.NoError(t, err)
		require.Equal(t, want, string(conn.Declared))
		f.mu.Lock()
		sent := f.sent[len(f.sent)-2].Body
		f.mu.Unlock()
		if want == "" {
			want = "{}"
		}
		require.Contains(t, sent, `"capabilities":`+want)
		var kept wire.Conn
		encoded, err := json.Marshal(conn)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(encoded, &kept))
		require.Equal(t, conn.Declared, kept.Declared)
	}
}
