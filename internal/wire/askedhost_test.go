package wire_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
)

// A function of the host that panics ends neither the process nor the call: the
// server gets an error for its question.
func TestHostPanicsWhileItAnswers(t *testing.T) {
	t.Parallel()
	q := newQuestions(t)
	var log bytes.Buffer // read when the call has ended
	q.Log = slog.New(slog.NewTextHandler(&log, nil))
	ended := q.call(t.Context(), func(_ context.Context, params string) any {
		if params == `{"n":1}` {
			panic("a mistake of the host")
		}
		return "two"
	})
	q.events <- ask(1)
	reply := <-q.replies
	var failed struct{ Code json.Number }
	require.NoError(t, json.Unmarshal(reply.Error, &failed))
	require.Equal(t, "1 -32603", string(reply.ID)+" "+failed.Code.String())
	q.events <- ask(2)
	require.Equal(t, `"two"`, string((<-q.replies).Result), "the next question has its turn")
	q.events <- "result"
	require.NoError(t, <-ended)
	require.Contains(t, log.String(), "a mistake of the host")
	require.Contains(t, log.String(), "askedhost_test.go", "the log says where")
}

// A server that uses an ID twice gets an answer to each question, and withdraws
// one at a time.
func TestQuestionsWithOneID(t *testing.T) {
	t.Parallel()
	const withdrawn = `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`
	for name, tt := range map[string]struct {
		withdraw bool
		replies  []string
	}{
		"both are answered":      {false, []string{`"first"`, `"second"`}},
		"the first is withdrawn": {true, []string{`"second"`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := newQuestions(t)
			open, release, over := make(chan struct{}), make(chan struct{}), make(chan struct{})
			first := true // one question after the other
			ended := q.call(t.Context(), func(ctx context.Context, _ string) any {
				if !first {
					return "second"
				}
				first = false
				close(open)
				select {
				case <-release:
				case <-ctx.Done():
					close(over)
				}
				return "first"
			})
			q.events <- ask(1)
			<-open
			q.events <- ask(1)
			if tt.withdraw {
				q.events <- withdrawn
				<-over
			} else {
				q.events <- `{"jsonrpc":"2.0","id":9,"method":"ping"}`
				require.Equal(t, "9", string((<-q.replies).ID), "the stream was read up to here")
				close(release)
			}
			for _, want := range tt.replies {
				require.Equal(t, want, string((<-q.replies).Result))
			}
			q.events <- "result"
			require.NoError(t, <-ended)
			require.Empty(t, q.replies)
		})
	}
}

// A question that the server withdraws before its turn is not asked.
func TestQuestionsWithdrawnBeforeTheirTurn(t *testing.T) {
	t.Parallel()
	q := newQuestions(t)
	open, release := make(chan struct{}), make(chan struct{})
	asked := make(chan string, 3)
	ended := q.call(t.Context(), func(_ context.Context, params string) any {
		asked <- params
		if params == `{"n":1}` {
			close(open)
			<-release
		}
		return "yes"
	})
	q.events <- ask(1)
	<-open
	q.events <- ask(2)
	q.events <- `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":2}}`
	q.events <- `{"jsonrpc":"2.0","id":9,"method":"ping"}`
	require.Equal(t, "9", string((<-q.replies).ID), "the stream was read up to here")
	close(release)
	require.Equal(t, "1", string((<-q.replies).ID))
	q.events <- ask(3)
	require.Equal(t, "3", string((<-q.replies).ID))
	q.events <- "result"
	require.NoError(t, <-ended)
	require.Equal(t, `{"n":1}`, <-asked)
	require.Equal(t, `{"n":3}`, <-asked)
}
