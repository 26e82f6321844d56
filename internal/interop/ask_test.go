package interop_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
	"github.com/mcpoauth/mcpoauth/store/memstore"
)

// offering is an MCP server that has more than tools, and asks the user.
type offering struct {
	name, url string
	revision  string
	// questions are calls in which the server asks.
	questions []question
	// listed is a prompt, a resource and a template.
	prompt, resource, template string
	promptArgs                 map[string]string
	message                    string // of the prompt
	page, text                 string // that the template leads to
	completions                []completion
	instructions               string
}

// question is a call, what the user is asked (a part of it), what the user answers,
// and a part of the result. first, if set, is a part of the error that the call has
// until the user has visited a page.
type question struct{ tool, args, asks, answer, result, first string }

type completion struct {
	ref             mcp.CompleteReference
	argument, value string
	want            []string
}

// tour uses everything that a server offers. Every question is answered on another
// replica.
func (o offering) tour(t *testing.T) {
	t.Helper()
	j := begin(t, o.name+", "+o.revision)
	records := memstore.New(memstore.Config{})
	replica := func() *session.Manager {
		cfg := session.Config{Store: records, SealKeys: [][]byte{bytes.Repeat([]byte("k"), 32)}}
		cfg.Client.Transport = oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowLoopback: true})
		cfg.Client.AskUsers = oauthclient.ElicitationModes{Form: true, URL: true}
		m, err := session.New(cfg)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, m.Close()) })
		return m
	}
	v := visit{t: t, m: replica(), peer: replica(), caller: session.Caller{Owner: "alice"}}
	info, err := v.m.Connect(t.Context(), v.caller, session.ConnectParams{ServerURL: o.url, CallbackURL: "http://127.0.0.1/callback"})
	require.NoError(t, err)
	v.id = info.ID.Reveal()
	described, err := v.m.Server(t.Context(), v.caller, v.id)
	require.NoError(t, err)
	require.Equal(t, o.revision, described.ProtocolVersion)
	require.Contains(t, described.Instructions, o.instructions)
	j.passed("connect, describe")

	v.prompts(o)
	j.passed("prompts")
	v.resources(o)
	j.passed("resources")
	for _, c := range o.completions {
		v.complete(c)
	}
	j.passed("completion")
	for _, q := range o.questions {
		v.ask(q)
	}
	j.passed("questions")
	require.NoError(t, v.m.RemoveClient(t.Context(), v.caller, v.id))
	j.finished()
}

// visit is a session, on two replicas.
type visit struct {
	t       *testing.T
	m, peer *session.Manager
	caller  session.Caller
	id      string
}

// requireContains checks that the JSON of a result contains a text.
func (v visit) requireContains(result json.Marshaler, err error, text string) {
	v.t.Helper()
	require.NoError(v.t, err)
	encoded, err := result.MarshalJSON()
	require.NoError(v.t, err)
	require.Contains(v.t, string(encoded), text)
}

func (v visit) prompts(o offering) {
	v.t.Helper()
	prompts, err := v.m.ListPrompts(v.t.Context(), v.caller, v.id)
	require.NoError(v.t, err)
	requireListed(v.t, prompts, `"name":"`+o.prompt+`"`)
	got, err := v.m.GetPrompt(v.t.Context(), v.caller, v.id, &mcp.GetPromptParams{Name: o.prompt, Arguments: o.promptArgs})
	v.requireContains(got, err, o.message)
}

func (v visit) resources(o offering) {
	v.t.Helper()
	resources, err := v.m.ListResources(v.t.Context(), v.caller, v.id)
	require.NoError(v.t, err)
	requireListed(v.t, resources, `"uri":"`+o.resource+`"`)
	read, err := v.m.ReadResource(v.t.Context(), v.caller, v.id, &mcp.ReadResourceParams{URI: o.resource})
	v.requireContains(read, err, `"uri":"`+o.resource+`"`)
	templates, err := v.m.ListResourceTemplates(v.t.Context(), v.caller, v.id)
	require.NoError(v.t, err)
	requireListed(v.t, templates, `"uriTemplate":"`+o.template+`"`)
	read, err = v.m.ReadResource(v.t.Context(), v.caller, v.id, &mcp.ReadResourceParams{URI: o.page})
	v.requireContains(read, err, o.text)
}

// requireListed checks that an element of a list contains a text.
func requireListed[T json.Marshaler](t *testing.T, items []T, text string) {
	t.Helper()
	encoded, err := json.Marshal(items)
	require.NoError(t, err)
	require.Contains(t, string(encoded), text)
}

func (v visit) complete(c completion) {
	v.t.Helper()
	got, err := v.m.Complete(v.t.Context(), v.caller, v.id, &mcp.CompleteParams{
		Ref: &c.ref, Argument: mcp.CompleteParamsArgument{Name: c.argument, Value: c.value},
	})
	require.NoError(v.t, err)
	require.Equal(v.t, c.want, got.Decode().Completion.Values)
}

// ask calls a tool that asks the user, and answers on the other replica.
func (v visit) ask(q question) {
	v.t.Helper()
	ask := session.Ask{Form: true, URL: true, OnInput: func(asked session.OpenInput) {
		require.Contains(v.t, string(asked.Requests), q.asks)
		inputs := answers(v.t, asked.Requests, q.answer)
		require.NoError(v.t, v.peer.AnswerInput(v.t.Context(), v.caller, v.id, asked.ID, inputs))
	}}
	called, err := v.m.CallToolAsking(v.t.Context(), v.caller, v.id, q.tool, json.RawMessage(q.args), ask, nil)
	if q.first != "" {
		rpc, ok := errors.AsType[*jsonrpc.Error](err)
		require.True(v.t, ok && rpc.Code == mcp.CodeURLElicitationRequired, "%v", err)
		require.Contains(v.t, string(rpc.Data), q.first)
		called, err = v.m.CallToolAsking(v.t.Context(), v.caller, v.id, q.tool, json.RawMessage(q.args), ask, nil)
	}
	if required, ok := errors.AsType[*session.InputRequiredError](err); ok {
		require.Contains(v.t, string(required.Requests), q.asks)
		ask.Inputs, ask.State = answers(v.t, required.Requests, q.answer), required.State
		called, err = v.peer.CallToolAsking(v.t.Context(), v.caller, v.id, q.tool, json.RawMessage(q.args), ask, nil)
	}
	v.requireContains(called, err, q.result)
}

// answers are the same answer to every question.
func answers(t *testing.T, requests json.RawMessage, answer string) json.RawMessage {
	t.Helper()
	var names map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(requests, &names))
	for name := range names {
		names[name] = json.RawMessage(answer)
	}
	inputs, err := json.Marshal(names)
	require.NoError(t, err)
	return inputs
}
