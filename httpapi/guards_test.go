package httpapi_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
)

// guards are those of types.ts that Go has as well.
var guards = map[string]func(httpapi.Response) bool{
	"connect": httpapi.IsConnectSuccess, "auth": httpapi.IsConnectAuthRequired, "error": httpapi.IsConnectError,
	"list": httpapi.IsListToolsSuccess, "call": httpapi.IsCallToolSuccess,
	"prompts":    func(r httpapi.Response) bool { return r.ListPromptsSuccess != nil },
	"resources":  func(r httpapi.Response) bool { return r.ListResourcesSuccess != nil },
	"templates":  func(r httpapi.Response) bool { return r.ListResourceTemplatesSuccess != nil },
	"prompt":     func(r httpapi.Response) bool { return r.GetPromptSuccess != nil },
	"resource":   func(r httpapi.Response) bool { return r.ReadResourceSuccess != nil },
	"input":      func(r httpapi.Response) bool { return r.InputRequired != nil },
	"answered":   func(r httpapi.Response) bool { return r.InputAnswered != nil },
	"completion": func(r httpapi.Response) bool { return r.CompleteSuccess != nil },
}

// guardRows say which guard a body passes; none for "". The same table is run
// against types.ts, in internal/frontend.
var guardRows = map[string]string{
	`{"success":true,"sessionId":"s"}`:                                         "connect",
	`{"success":true,"sessionId":"s","more":1}`:                                "connect",
	`{"requiresAuth":true,"authUrl":"https://as","sessionId":"s"}`:             "auth",
	`{"requiresAuth":true,"authUrl":"https://as","sessionId":"s","error":"e"}`: "auth",
	`{"error":"e","code":"c"}`:                                                 "error",
	`{"error":"e","code":"c","rpcCode":-32602}`:                                "error",
	`{"tools":[]}`:                   "list",
	`{"tools":[{"name":"a"}]}`:       "list",
	`{"content":[],"isError":false}`: "call",
	`{"content":[{"type":"text","text":"x"}],"isError":true,"_meta":{}}`: "call",
	`{"success":true,"message":"Disconnected successfully"}`:             "",
	`{"success":true}`:             "answered",
	`{"success":true,"error":"e"}`: "",
	`{"success":true,"message":1}`: "",
	`{"sessionId":"s","status":"failed","serverUrl":"u","error":"e"}`: "",
	`{"sessions":[]}`:                              "",
	`{}`:                                           "",
	`{"success":false,"sessionId":"s"}`:            "",
	`{"success":"true","sessionId":"s"}`:           "",
	`{"success":true,"sessionId":""}`:              "",
	`{"success":true,"sessionId":"s","error":"e"}`: "",
	`{"success":true,"sessionId":"s","requiresAuth":true,"authUrl":"u"}`: "",
	`{"requiresAuth":true}`:                                       "",
	`{"requiresAuth":true,"authUrl":""}`:                          "",
	`{"requiresAuth":"true","authUrl":"u"}`:                       "",
	`{"requiresAuth":false,"authUrl":"u","error":"e","code":"c"}`: "",

	`{"error":"e"}`:                    "",
	`{"error":{"a":1},"code":"c"}`:     "",
	`{"tools":null}`:                   "",
	`{"tools":{}}`:                     "",
	`{"content":[]}`:                   "",
	`{"isError":false}`:                "",
	`{"content":null,"isError":false}`: "",
	`{"content":[],"isError":"no"}`:    "",
	`{"content":[],"isError":false,"requiresAuth":true,"authUrl":"https://evil"}`: "call",
	`{"content":[],"isError":false,"success":true,"sessionId":"s"}`:               "call",
	`{"content":[],"isError":false,"error":"e","code":"c","tools":[]}`:            "call",
	`{"content":null,"isError":false,"requiresAuth":true,"authUrl":"https://e"}`:  "",
	`{"prompts":[]}`:                                "prompts",
	`{"prompts":[],"nextCursor":"c"}`:               "prompts",
	`{"resources":[]}`:                              "resources",
	`{"resourceTemplates":[]}`:                      "templates",
	`{"messages":[]}`:                               "prompt",
	`{"contents":[]}`:                               "resource",
	`{"completion":{"values":[]}}`:                  "completion",
	`{"inputRequired":{"requests":{},"state":"s"}}`: "input",
	`{"inputRequired":{"requests":{},"state":"s"},"content":[],"isError":false}`: "call",
	`{"inputRequired":{"requests":[]}}`:                                          "",
	`{"prompts":{}}`:                                                             "",
	`{"messages":null}`:                                                          "",
	`{"completion":[]}`:                                                          "",
	`{"messages":[],"requiresAuth":true,"authUrl":"https://evil"}`:               "prompt",
	`{"contents":[],"success":true,"sessionId":"s"}`:                             "resource",
	`{"completion":{},"error":"e","code":"c"}`:                                   "completion",
	`{"messages":null,"requiresAuth":true,"authUrl":"https://evil"}`:             "",
	`{"tools":[],"requiresAuth":true,"authUrl":"https://evil"}`:                  "list",
	`{"tools":[],"success":true,"sessionId":"s","error":"e","code":"c"}`:         "list",
}

func TestResponse_GuardsTellEveryAnswerApart(t *testing.T) {
	t.Parallel()
	for body, want := range guardRows {
		record(t, exchange{Method: "guard", Target: want, Answer: body})
		var response httpapi.Response
		require.NoError(t, json.Unmarshal([]byte(body), &response), body)
		for name, guard := range guards {
			require.Equal(t, name == want, guard(response), "%s of %s", name, body)
		}
	}
}

func TestResponseKeepsWhatItIs(t *testing.T) {
	t.Parallel()
	decode := func(body string) (r httpapi.Response) {
		require.NoError(t, json.Unmarshal([]byte(body), &r))
		return r
	}
	require.Equal(t, &httpapi.ConnectSuccess{Success: true, SessionID: "s"}, decode(`{"success":true,"sessionId":"s"}`).ConnectSuccess)
	require.Equal(t, &httpapi.AuthRequired{RequiresAuth: true, AuthURL: "u", SessionID: "s", Error: "e"},
		decode(`{"requiresAuth":true,"authUrl":"u","sessionId":"s","error":"e"}`).AuthRequired)
	require.Equal(t, &httpapi.ErrorResponse{Error: "e", Code: "c", RPCCode: new(int64(-1))}, decode(`{"error":"e","code":"c","rpcCode":-1}`).ErrorResponse)
	require.Equal(t, &httpapi.Done{Success: true, Message: "m"}, decode(`{"success":true,"message":"m"}`).Done)
	call := decode(`{"content":[{"n":9007199254740993}],"isError":true,"structuredContent":{"n":9007199254740993}}`).CallToolSuccess
	require.JSONEq(t, `{"n":9007199254740993}`, string(call.StructuredContent))
	require.Equal(t, `{"n":9007199254740993}`, string(call.Content[0]))
	require.True(t, call.IsError)

	reused := decode(`{"tools":[]}`)
	require.NoError(t, json.Unmarshal([]byte(`{"error":"e","code":"c"}`), &reused))
	require.False(t, httpapi.IsListToolsSuccess(reused), "nothing is left of an earlier answer")
}

func TestResponseRefuses(t *testing.T) {
	t.Parallel()
	for _, body := range []string{`[]`, `"x"`, `{"success":true,"sessionId":"s"`, `{"error":"e","code":"c","rpcCode":"x"}`} {
		response := httpapi.Response{Done: &httpapi.Done{}}
		require.Error(t, json.Unmarshal([]byte(body), &response), body)
	}
}
