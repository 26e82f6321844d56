package session_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
)

// asker is a server of revision 2025-11-25 that asks before it answers a tool
// call, which then returns what it was answered.
type asker struct {
	*scripted
	ask        []string // the parameters of the questions of a call, one after the other
	standalone bool     // asks on the standalone stream
	patient    bool     // goes on when it gets no answer to a question
	burst      bool     // asks all at once, and waits for the last answer

	mu       sync.Mutex
	next     int
	waiting  map[string]chan string
	stream   chan string // of the standalone stream, while one is held
	declared []string    // the capabilities of each initialize
	sent     int         // questions
}

const form = `{"mode":"form","message":"How old?","requestedSchema":{"type":"object","properties":{"age":{"type":"integer","minimum":18},"name":{"type":"string","maxLength":5},"news":{"type":"boolean","default":true}},"required":["age"]}}`

func newAsker(t *testing.T, a *asker) *asker {
	t.Helper()
	a.waiting = make(map[string]chan string)
	a.scripted = newScripted(t, &scripted{before: a.serve})
	return a
}

func (a *asker) serve(w http.ResponseWriter, r scriptedRequest) bool {
	switch {
	case r.Method == "initialize":
		a.mu.Lock()
		a.declared = append(a.declared, string(r.capabilities()))
		a.mu.Unlock()
		return false
	case r.http.Method == http.MethodGet:
		a.hold(w, r)
	case r.Method == "" && r.http.Method == http.MethodPost:
		a.mu.Lock()
		waiting := a.waiting[string(r.ID)]
		delete(a.waiting, string(r.ID))
		a.mu.Unlock()
		if waiting != nil {
			waiting <- string(r.Result) + string(r.Error)
		}
		w.WriteHeader(http.StatusAccepted)
	case r.Method == "tools/call":
		a.call(w, r)
	default:
		return false
	}
	return true
}

// hold is the standalone stream, which one client can hold at a time.
func (a *asker) hold(w http.ResponseWriter, r scriptedRequest) {
	stream := make(chan string)
	a.mu.Lock()
	free := a.stream == nil
	if free {
		a.stream = stream
	}
	a.mu.Unlock()
	if !free {
		w.WriteHeader(http.StatusConflict)
		return
	}
	defer func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.stream = nil
	}()
	w.Header().Set("Content-Type", "text/event-stream")
	_ = http.NewResponseController(w).Flush()
	for {
		select {
		case message := <-stream:
			_, _ = io.WriteString(w, "data: "+message+"\n\n")
			_ = http.NewResponseController(w).Flush()
		case <-r.http.Context().Done():
			return
		}
	}
}

// holder returns the standalone stream that is held, nil for none.
func (a *asker) holder() chan string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.stream
}

func (a *asker) call(w http.ResponseWriter, r scriptedRequest) {
	w.Header().Set("Content-Type", "text/event-stream")
	_ = http.NewResponseController(w).Flush()
	replies := []json.RawMessage{}
	for i, params := range a.ask {
		a.mu.Lock()
		a.next++
		id := a.next
		reply := make(chan string, 1)
		a.waiting[fmt.Sprint(id)] = reply
		a.mu.Unlock()
		message := fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"elicitation/create","params":%s}`, id, params)
		if !a.standalone {
			_, _ = io.WriteString(w, "data: "+message+"\n\n")
			_ = http.NewResponseController(w).Flush()
		} else if stream := a.holder(); stream != nil {
			stream <- message
		}
		a.mu.Lock()
		a.sent++
		a.mu.Unlock()
		if a.patient || a.burst && i < len(a.ask)-1 {
			continue
		}
		select {
		case answer := <-reply:
			replies = append(replies, json.RawMessage(answer))
		case <-r.http.Context().Done():
			return
		}
	}
	encoded, _ := json.Marshal(replies)
	_, _ = fmt.Fprintf(w, `data: {"jsonrpc":"2.0","id":%s,"result":{"content":[],"structuredContent":%s}}`+"\n\n", r.ID, encoded)
}

// asked waits until the server has sent n questions.
func (a *asker) asked(t *testing.T, n int) {
	t.Helper()
	require.Eventually(t, func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.sent == n
	}, waitPatience, time.Millisecond)
}

func (a *asker) initialized() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string(nil), a.declared...)
}

func (r scriptedRequest) capabilities() json.RawMessage {
	return bytes.TrimSpace(r.Params.Capabilities)
}

// asks lets servers ask users in both modes.
func asks(c *session.Config) {
	c.Client.AskUsers = oauthclient.ElicitationModes{Form: true, URL: true}
	c.Store = watching{c.Store.(*spy)}
}

// running is an asking call on its way.
type running struct {
	inputs chan session.OpenInput
	ended  chan error
	result *oauthclient.CallToolResult // after ended
}

func startAsking(ctx context.Context, m *session.Manager, id string) *running {
	r := &running{inputs: make(chan session.OpenInput, 2000), ended: make(chan error, 1)}
	go func() {
		var err error
		r.result, err = m.CallToolAsking(ctx, alice, id, "ask", nil, session.Ask{Form: true, URL: true, OnInput: func(in session.OpenInput) { r.inputs <- in }}, nil)
		r.ended <- err
	}()
	return r
}

// input waits for a question.
func (r *running) input(t *testing.T) session.OpenInput {
	t.Helper()
	select {
	case in := <-r.inputs:
		return in
	case err := <-r.ended:
		require.FailNow(t, "the call has ended without a question", "%v", err)
	case <-time.After(waitPatience):
		require.FailNow(t, "there is no question")
	}
	return session.OpenInput{}
}

// end waits for the end of the call.
func (r *running) end(t *testing.T) error {
	t.Helper()
	select {
	case err := <-r.ended:
		return err
	case <-time.After(waitPatience):
		require.FailNow(t, "the call does not end")
		return nil
	}
}

// answers requires that the call has succeeded, and returns what the server was
// answered.
func (r *running) answers(t *testing.T) string {
	t.Helper()
	require.NoError(t, r.end(t))
	var result struct {
		Structured json.RawMessage `json:"structuredContent"`
	}
	encoded, err := r.result.MarshalJSON()
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(encoded, &result))
	return string(result.Structured)
}

// inputs is an answer to the only question.
func inputs(answer string) json.RawMessage { return json.RawMessage(`{"question":` + answer + `}`) }
