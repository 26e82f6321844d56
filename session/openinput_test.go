package session_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/redistest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
	"github.com/mcpoauth/mcpoauth/store/redisstore"
)

// A question that came to one replica is answered on the other, whatever the
// answer is, and the server gets it as the user gave it.
func TestQuestionsAreAnsweredOnAnotherReplica(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ question, answer, want string }{
		"a form":           {form, `{"action":"accept","content":{"age":9007199254740993,"news":false}}`, `[{"action":"accept","content":{"age":9007199254740993,"news":false}}]`},
		"its defaults":     {form, `{"action":"accept","content":{"age":18,"more":1}}`, `[{"action":"accept","content":{"age":18,"more":1,"news":true}}]`},
		"decline":          {form, `{"action":"decline","content":{"age":1}}`, `[{"action":"decline"}]`},
		"cancel":           {form, `{"action":"cancel"}`, `[{"action":"cancel"}]`},
		"a URL":            {`{"mode":"url","message":"Pay","url":"https://pay.example/1","elicitationId":"e"}`, `{"action":"accept"}`, `[{"action":"accept"}]`},
		"of revision 2025": {`{"message":"Go <on> & on?","requestedSchema":{"type":"object","properties":{}}}`, `{"action":"accept","content":{}}`, `[{"action":"accept","content":{}}]`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newAsker(t, &asker{ask: []string{tt.question}})
			w, a, b, id := scriptedWorld(t, server.scripted, asks)
			call := startAsking(t.Context(), a, id)
			in := call.input(t)
			require.Equal(t, `{"question":{"method":"elicitation/create","params":`+tt.question+`}}`, string(in.Requests))
			require.NoError(t, b.AnswerInput(t.Context(), alice, id, in.ID, inputs(tt.answer)))
			require.Equal(t, tt.want, call.answers(t))
			require.Empty(t, w.store.live("input"), "the record is gone")
			for _, value := range w.store.stored() {
				require.NotContains(t, string(value), "9007199254740993", "answers are sealed")
			}
		})
	}
}

// Answers that are none, and answers of others, leave a question open. It is
// answered once.
func TestAnswersThatAreRefused(t *testing.T) {
	t.Parallel()
	server := newAsker(t, &asker{ask: []string{form}})
	w, a, b, id := scriptedWorld(t, server.scripted, asks, func(c *session.Config) { c.MaxInputBytes = 2000 })
	other, err := a.Connect(t.Context(), alice, withServer(w, server.URL))
	require.NoError(t, err)
	mallory := session.Caller{Owner: "mallory", Binding: "m"}
	hers, err := b.Connect(t.Context(), mallory, withServer(w, server.URL))
	require.NoError(t, err)
	call := startAsking(t.Context(), a, id)
	in := call.input(t)
	good := inputs(`{"action":"accept","content":{"age":18}}`)
	for name, bad := range map[string]struct{ inputs, field string }{
		"no object":         {`[]`, ""},
		"nothing":           {``, ""},
		"no answer":         {`{}`, ""},
		"another question":  {`{"q":{"action":"accept"}}`, ""},
		"two answers":       {`{"question":{"action":"accept","content":{"age":18}},"q":{"action":"accept"}}`, ""},
		"an unknown action": {`{"question":{"action":"maybe"}}`, ""},
		"no content":        {`{"question":{"action":"accept"}}`, "age"},
		"null":              {`{"question":{"action":"accept","content":null}}`, ""},
		"a list":            {`{"question":{"action":"accept","content":[]}}`, ""},
		"too young":         {`{"question":{"action":"accept","content":{"age":17}}}`, "age"},
		"no integer":        {`{"question":{"action":"accept","content":{"age":18.5}}}`, "age"},
		"a text":            {`{"question":{"action":"accept","content":{"age":"18"}}}`, "age"},
		"too long":          {`{"question":{"action":"accept","content":{"age":18,"name":"Sauron"}}}`, "name"},
		"too large":         {`{"question":{"action":"accept","content":{"age":18,"x":"` + strings.Repeat("x", 2000) + `"}}}`, ""},
	} {
		err := b.AnswerInput(t.Context(), alice, id, in.ID, json.RawMessage(bad.inputs))
		require.ErrorIs(t, err, session.ErrInvalidInput, name)
		var invalid *session.InvalidInputError
		require.ErrorAs(t, err, &invalid, name)
		require.Equal(t, bad.field, invalid.Field, name)
	}
	require.ErrorIs(t, b.AnswerInput(t.Context(), mallory, id, in.ID, good), session.ErrNotFound, "another owner")
	require.ErrorIs(t, b.AnswerInput(t.Context(), mallory, hers.ID.Reveal(), in.ID, good), session.ErrNotFound, "another owner's question")
	require.ErrorIs(t, b.AnswerInput(t.Context(), alice, other.ID.Reveal(), in.ID, good), session.ErrNotFound, "another session's question")
	require.ErrorIs(t, b.AnswerInput(t.Context(), alice, id, "x", good), session.ErrInputClosed)
	require.ErrorIs(t, b.AnswerInput(t.Context(), alice, id, session.GenerateSessionID()[:26], good), session.ErrInputClosed)

	errs := concurrently(8, func(i int) error {
		return []*session.Manager{a, b}[i%2].AnswerInput(t.Context(), alice, id, in.ID, good)
	})
	var taken int
	for _, err := range errs {
		if err == nil {
			taken++
		} else {
			require.ErrorIs(t, err, session.ErrInputClosed)
		}
	}
	require.Equal(t, 1, taken)
	require.Equal(t, `[{"action":"accept","content":{"age":18,"news":true}}]`, call.answers(t))
	require.ErrorIs(t, b.AnswerInput(t.Context(), alice, id, in.ID, good), session.ErrInputClosed, "a replayed answer")
}

// A question without an answer ends with its time, with its call, with the
// Manager, and with the caller. The late answer is refused.
func TestQuestionsEnd(t *testing.T) {
	t.Parallel()
	good := inputs(`{"action":"accept","content":{"age":18}}`)
	for name, tt := range map[string]struct {
		change func(*session.Config)
		end    func(t *testing.T, a *session.Manager, leave func())
		check  func(t *testing.T, call *running, server *asker)
	}{
		"time": {func(c *session.Config) { c.InputWait = 50 * time.Millisecond }, func(*testing.T, *session.Manager, func()) {},
			func(t *testing.T, call *running, _ *asker) {
				require.Equal(t, `[{"action":"cancel"}]`, call.answers(t))
			}},
		"the call's time": {func(c *session.Config) { c.Client.CallTimeout = 6 * time.Second }, func(*testing.T, *session.Manager, func()) {},
			func(t *testing.T, call *running, server *asker) {
				var temporary *oauthclient.TemporaryError
				require.ErrorAs(t, call.end(t), &temporary)
				require.True(t, temporary.Timeout)
			}},
		"the caller": {func(*session.Config) {}, func(_ *testing.T, _ *session.Manager, leave func()) { leave() },
			func(t *testing.T, call *running, server *asker) {
				require.ErrorIs(t, call.end(t), context.Canceled)
				require.Equal(t, 1, server.count("notifications/cancelled"))
			}},
		"Close": {func(*session.Config) {}, func(t *testing.T, a *session.Manager, _ func()) { require.NoError(t, a.Close()) },
			func(t *testing.T, call *running, _ *asker) { require.ErrorIs(t, call.end(t), session.ErrClosed) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newAsker(t, &asker{ask: []string{form}})
			w, a, b, id := scriptedWorld(t, server.scripted, asks, tt.change)
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			call := startAsking(ctx, a, id)
			in := call.input(t)
			tt.end(t, a, leave)
			tt.check(t, call, server)
			require.ErrorIs(t, b.AnswerInput(t.Context(), alice, id, in.ID, good), session.ErrInputClosed)
			require.Empty(t, w.store.live("input"))
		})
	}
}

// A server that answers its call although its question is open has given the
// question up.
func TestQuestionsEndWithTheResult(t *testing.T) {
	t.Parallel()
	server := newAsker(t, &asker{ask: []string{form}, patient: true})
	w, a, b, id := scriptedWorld(t, server.scripted, asks)
	call := startAsking(t.Context(), a, id)
	require.Equal(t, `[]`, call.answers(t))
	for len(call.inputs) > 0 {
		in := <-call.inputs
		require.ErrorIs(t, b.AnswerInput(t.Context(), alice, id, in.ID, inputs(`{"action":"cancel"}`)), session.ErrInputClosed)
	}
	require.Empty(t, w.store.live("input"))
}

// A server that asks without end is asked back no more: its call fails.
func TestServersThatAskAThousandTimes(t *testing.T) {
	t.Parallel()
	for name, burst := range map[string]bool{"one after the other": false, "all at once": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			questions := make([]string, 1000)
			for i := range questions {
				questions[i] = form
			}
			server := newAsker(t, &asker{ask: questions, burst: burst})
			w, a, b, id := scriptedWorld(t, server.scripted, asks, func(c *session.Config) { c.MaxInputsPerCall = 5 })
			call := startAsking(t.Context(), a, id)
			for range 5 {
				require.NoError(t, b.AnswerInput(t.Context(), alice, id, call.input(t).ID, inputs(`{"action":"decline"}`)))
			}
			var failed *oauthclient.ServerError
			require.ErrorAs(t, call.end(t), &failed)
			require.Equal(t, "it asks for input again and again", failed.Reason)
			require.Empty(t, call.inputs)
			require.Empty(t, w.store.live("input"))
			require.Eventually(t, func() bool { return server.count("notifications/cancelled") == 1 }, waitPatience, time.Millisecond)
		})
	}
}

// A question that is too large to keep is refused to the server, and not asked.
func TestQuestionsOfTenMegabytes(t *testing.T) {
	t.Parallel()
	server := newAsker(t, &asker{ask: []string{`{"message":"` + strings.Repeat("x", 10<<20) + `","requestedSchema":{}}`, form}})
	_, a, b, id := scriptedWorld(t, server.scripted, asks)
	call := startAsking(t.Context(), a, id)
	require.NoError(t, b.AnswerInput(t.Context(), alice, id, call.input(t).ID, inputs(`{"action":"decline"}`)))
	require.Equal(t, fmt.Sprintf(`[{"code":%d,"message":"The question is too large or malformed"},{"action":"decline"}]`, jsonrpc.CodeInvalidParams), call.answers(t))
}

// Only a caller that can show a question is asked: others let the server go on
// without an answer. A URL that a browser cannot open safely is not shown.
func TestCallersThatCannotAsk(t *testing.T) {
	t.Parallel()
	ask := func(ask session.Ask) session.Ask {
		ask.OnInput = func(session.OpenInput) { panic("asked") }
		return ask
	}
	url := func(url string) string { return `{"mode":"url","message":"Pay","url":"` + url + `"}` }
	for name, tt := range map[string]struct {
		question string
		ask      session.Ask
	}{
		"none":                  {form, session.Ask{}},
		"without OnInput":       {form, session.Ask{Form: true}},
		"URLs only":             {form, ask(session.Ask{URL: true})},
		"forms only":            {url("https://pay.example"), ask(session.Ask{Form: true})},
		"an unknown mode":       {`{"mode":"voice"}`, ask(session.Ask{Form: true, URL: true})},
		"a script":              {url("javascript:alert(1)"), ask(session.Ask{Form: true, URL: true})},
		"a script beside a URL": {`{"mode":"url","message":"Pay","url":"javascript:alert(1)","URL":"https://pay.example"}`, ask(session.Ask{Form: true, URL: true})},
		"a form beside a URL":   {`{"mode":"url","Mode":"form","message":"Pay","url":"javascript:alert(1)"}`, ask(session.Ask{Form: true, URL: true})},
		"no object":             {`null`, ask(session.Ask{Form: true, URL: true})},
		"a URL without host":    {url("https:"), ask(session.Ask{Form: true, URL: true})},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newAsker(t, &asker{ask: []string{tt.question}})
			_, a, _, id := scriptedWorld(t, server.scripted, asks)
			result, err := a.CallToolAsking(t.Context(), alice, id, "ask", nil, tt.ask, nil)
			require.NoError(t, err)
			encoded, err := result.MarshalJSON()
			require.NoError(t, err)
			require.Contains(t, string(encoded), `[{"action":"cancel"}]`)
		})
	}
}

// The capability is declared when a connection is made. A connection that lacks it
// is made again for the first caller that needs it, once.
func TestElicitationIsDeclaredAtInitialize(t *testing.T) {
	t.Parallel()
	server := newAsker(t, &asker{})
	w, a, _, id := scriptedWorld(t, server.scripted)
	call := startAsking(t.Context(), a, id)
	require.Equal(t, `[]`, call.answers(t))
	require.Equal(t, []string{`{}`}, server.initialized(), "a host that has not said that it can ask")
	require.Zero(t, server.count("GET"))

	b, c := w.manager(t, asks), w.manager(t, asks)
	requireCalls := func(m *session.Manager, ask session.Ask) {
		_, err := m.CallToolAsking(t.Context(), alice, id, "ask", nil, ask, nil)
		require.NoError(t, err)
	}
	onInput := func(session.OpenInput) {}
	requireCalls(b, session.Ask{})
	requireCalls(b, session.Ask{Form: true})
	require.Len(t, server.initialized(), 1, "a caller that cannot ask needs nothing")
	for range 2 {
		for _, m := range []*session.Manager{b, c} {
			requireCalls(m, session.Ask{Form: true, OnInput: onInput})
			requireCalls(m, session.Ask{URL: true, OnInput: onInput})
		}
	}
	require.Equal(t, []string{`{}`, `{"elicitation":{"form":{},"url":{}}}`}, server.initialized())
	requireCalls(a, session.Ask{})
	require.Len(t, server.initialized(), 2, "all callers share the MCP session")
}

// A server that asks on the standalone stream asks the call that holds it, which
// may be another call of the same session, on another replica. A question that is
// open when that call ends is cancelled, and the next call holds the stream.
func TestStandaloneStreamsAreSharedByReplicas(t *testing.T) {
	t.Parallel()
	server := newAsker(t, &asker{ask: []string{form, form}, standalone: true})
	_, a, b, id := scriptedWorld(t, server.scripted, asks)
	answer := func(m *session.Manager, in session.OpenInput, age int) {
		t.Helper()
		require.NoError(t, m.AnswerInput(t.Context(), alice, id, in.ID, inputs(fmt.Sprintf(`{"action":"accept","content":{"age":%d,"news":true}}`, age))))
	}
	reply := func(age int) string {
		return fmt.Sprintf(`{"action":"accept","content":{"age":%d,"news":true}}`, age)
	}
	first := startAsking(t.Context(), a, id)
	in := first.input(t)
	second := startAsking(t.Context(), b, id) // cannot hold the stream
	server.asked(t, 2)
	answer(b, in, 21)
	server.asked(t, 3)
	answer(b, first.input(t), 22) // the second call's question
	server.asked(t, 4)
	answer(a, first.input(t), 23)
	require.Equal(t, `[`+reply(21)+`,`+reply(23)+`]`, first.answers(t))
	require.Equal(t, `[`+reply(22)+`,{"action":"cancel"}]`, second.answers(t))
	require.Empty(t, second.inputs)

	third := startAsking(t.Context(), b, id)
	answer(a, third.input(t), 24)
	answer(a, third.input(t), 25)
	require.Equal(t, `[`+reply(24)+`,`+reply(25)+`]`, third.answers(t))
}

// A store that cannot keep a question lets the call go on without; one that is
// away for a moment delays the answer.
func TestQuestionsWhileTheStoreIsAway(t *testing.T) {
	t.Parallel()
	server := newAsker(t, &asker{ask: []string{form}})
	w, a, b, id := scriptedWorld(t, server.scripted, asks)
	w.store.fail("swap", "input:", 1)
	call := startAsking(t.Context(), a, id)
	require.Equal(t, `[{"action":"cancel"}]`, call.answers(t))
	require.Empty(t, call.inputs)

	call = startAsking(t.Context(), a, id)
	in := call.input(t)
	w.store.fail("get", "input:", -1)
	requireStoreError(t, b.AnswerInput(t.Context(), alice, id, in.ID, inputs(`{"action":"decline"}`)))
	w.store.fail("swap", "input:", 1)
	requireStoreError(t, b.AnswerInput(t.Context(), alice, id, in.ID, inputs(`{"action":"decline"}`)))
	w.store.heal()
	require.NoError(t, b.AnswerInput(t.Context(), alice, id, in.ID, inputs(`{"action":"decline"}`)))
	require.Equal(t, `[{"action":"decline"}]`, call.answers(t))
}

// The URLs of -32042 reach Go callers as the server sent them.
func TestURLElicitationRequired(t *testing.T) {
	t.Parallel()
	const data = `{"elicitations":[{"mode":"url","url":"https://pay.example/1","elicitationId":"e","message":"Pay"}]}`
	server := &scripted{}
	newScripted(t, server)
	server.before = refuseCalls(`{"code":-32042,"message":"Pay first","data":` + data + `}`)
	_, a, _, id := scriptedWorld(t, server, asks)
	_, err := a.CallTool(t.Context(), alice, id, "pay", nil)
	var rpc *jsonrpc.Error
	require.True(t, errors.As(err, &rpc), "%v", err)
	require.EqualValues(t, -32042, rpc.Code)
	require.JSONEq(t, data, string(rpc.Data))
}

// On Redis a question costs a handful of commands, however long the user thinks.
func TestQuestionsOnRedis(t *testing.T) {
	t.Parallel()
	redis := redistest.Run(t, redistest.Options{})
	server := newAsker(t, &asker{ask: []string{form}})
	onRedis := func(c *session.Config) {
		s, err := redisstore.New(t.Context(), redisstore.Config{URL: redis.URL() + "?write_timeout=1m"}) // a busy machine replaces no connection
		require.NoError(t, err)
		t.Cleanup(s.Close)
		c.Store, c.Now = s, nil
	}
	_, a, b, id := scriptedWorld(t, server.scripted, asks, onRedis)
	ask := func(thinks time.Duration) redistest.Stats {
		require.NoError(t, redis.ResetStats())
		call := startAsking(t.Context(), a, id)
		in := call.input(t)
		time.Sleep(thinks) // Redis has no clock to move
		require.NoError(t, b.AnswerInput(t.Context(), alice, id, in.ID, inputs(`{"action":"decline"}`)))
		require.Equal(t, `[{"action":"decline"}]`, call.answers(t))
		stats, err := redis.CommandStats()
		require.NoError(t, err)
		delete(stats, "ping")
		return stats
	}
	ask(0) // brings the scripts along
	stats := ask(2500 * time.Millisecond)
	require.LessOrEqual(t, stats["get"], int64(8), "%v", stats)
	require.LessOrEqual(t, stats["evalsha"], int64(2), "%v", stats)
}
