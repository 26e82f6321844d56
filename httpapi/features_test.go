package httpapi_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// What the MCP server sent arrives as it is, whatever its numbers and members.
func TestPromptsAndResourcesAreRaw(t *testing.T) {
	t.Parallel()
	for path, tc := range map[string]struct{ method, body, want, asked string }{
		pathPrompts + "?sessionId=s":   {"GET", "", `{"prompts":[{"name":"hello","x":9007199254740993}]}`, "list prompts"},
		pathResources + "?sessionId=s": {"GET", "", `{"resources":[{"uri":"file:///a","name":"a"}]}`, "list resources"},
		pathTemplates + "?sessionId=s": {"GET", "", `{"resourceTemplates":[{"uriTemplate":"file:///{x}","name":"x"}]}`, "list templates"},
		pathPrompt:                     {"POST", anyPrompt, `{"messages":[{"role":"user","content":{"type":"text","text":"hi"}}],"x":9007199254740993}`, "prompt hello"},
		pathResource:                   {"POST", anyRead, `{"contents":[{"uri":"file:///a","text":"x"}],"x":9007199254740993}`, "read file:///a"},
		pathCompletion:                 {"POST", anyComplete, `{"completion":{"values":["a"],"x":9007199254740993}}`, "complete"},
		pathServer + "?sessionId=s": {"GET", "",
			`{"protocolVersion":"2026-07-28","serverInfo":{"name":"x","version":"1"},"capabilities":{},"instructions":"Be kind."}`, "server"},
	} {
		f := &fake{}
		h, _ := newFake(t, f)
		w := request(t, h, tc.method, path, tc.body)
		require.Equal(t, 200, w.Code, "%s %s", path, w.Body)
		require.Equal(t, tc.want, w.Body.String(), path)
		require.Equal(t, []string{tc.asked}, f.called(), path)
	}
}

func TestListsByCursor(t *testing.T) {
	t.Parallel()
	for path, list := range map[string]string{pathList: "tools", pathPrompts: "prompts", pathResources: "resources", pathTemplates: "resourceTemplates"} {
		f := &fake{page: oauthclient.Page{Items: []json.RawMessage{[]byte(`{"name":"a","uri":"u","uriTemplate":"t","inputSchema":{}}`)}, NextCursor: `"2"`}}
		h, _ := newFake(t, f)
		w := request(t, h, "GET", path+"?sessionId=s&cursor=", "")
		require.Equal(t, `{"`+list+`":[{"name":"a","uri":"u","uriTemplate":"t","inputSchema":{}}],"nextCursor":"\"2\""}`, w.Body.String())
		f.page = oauthclient.Page{}
		require.Equal(t, `{"`+list+`":[]}`, request(t, h, "GET", path+"?sessionId=s&cursor=%222%22", "").Body.String())
		require.Equal(t, []string{"page of " + list + " ", "page of " + list + ` "2"`}, f.called())
	}
}

func TestPromptsAndResourcesRefuse(t *testing.T) {
	t.Parallel()
	for body, path := range map[string]string{
		`{"name":"x"}`:      pathPrompt,
		`{"sessionId":"s"}`: pathPrompt,
		`{"sessionId":"s","name":"x","arguments":{"a":1}}`:                                   pathPrompt,
		`{"sessionId":"s","uri":""}`:                                                         pathResource,
		`{"sessionId":"s","ref":{"type":"ref/tool","name":"x"},"argument":{"name":"a"}}`:     pathCompletion,
		`{"sessionId":"s","ref":{"type":"ref/prompt","uri":"x"},"argument":{"name":"a"}}`:    pathCompletion,
		`{"sessionId":"s","ref":{"type":"ref/resource","name":"x"},"argument":{"name":"a"}}`: pathCompletion,
		`{"sessionId":"s","ref":{"type":"ref/prompt","name":"x"}}`:                           pathCompletion,
	} {
		f := &fake{}
		h, _ := newFake(t, f)
		w := request(t, h, "POST", path, body)
		require.Equal(t, 400, w.Code, body)
		require.Equal(t, httpapi.CodeInvalidRequest, errorOf(t, w).Code)
		require.Empty(t, f.called())
	}
}

// Over the wire, on another replica, with the same 401 as tools.
func TestPromptsAndResourcesOfAServer(t *testing.T) {
	t.Parallel()
	raw := map[string]string{
		"prompts/list":             `{"resultType":"complete","prompts":[{"name":"hello"}],"nextCursor":"2"}`,
		"resources/list":           `{"resultType":"complete","resources":[{"uri":"file:///a","name":"a"}]}`,
		"resources/templates/list": `{"resultType":"complete","resourceTemplates":[{"uriTemplate":"file:///{x}","name":"x"}]}`,
		"prompts/get":              `{"resultType":"complete","messages":[],"x":9007199254740993}`,
		"resources/read":           `{"resultType":"complete","contents":[],"x":9007199254740993}`,
		"completion/complete":      `{"resultType":"complete","completion":{"values":["a"]}}`,
	}
	w := newWorld(t, authtest.Options{}, mcptest.Options{JSONResponse: true, Raw: func(method string, params json.RawMessage) *mcptest.RawReply {
		var p struct{ Cursor, Name string }
		_ = json.Unmarshal(params, &p)
		switch {
		case p.Cursor == "2":
			return &mcptest.RawReply{Result: json.RawMessage(`{"resultType":"complete","prompts":[{"name":"bye"}]}`)}
		case p.Name == "broken":
			return &mcptest.RawReply{Result: json.RawMessage(`{"resultType":"complete","requiresAuth":true,"authUrl":"https://evil"}`)}
		case raw[method] != "":
			return &mcptest.RawReply{Result: json.RawMessage(raw[method])}
		}
		return nil
	}})
	w.replica(t)
	b := w.browser(t, "")
	id := b.authorized()
	w.replica(t)
	get := func(path string) string {
		a := b.send("GET", path, "")
		require.Equal(t, 200, a.status, a.body)
		return a.body
	}
	send := func(path, body string) answer { return b.send("POST", path, `{"sessionId":"`+id+`",`+body[1:]) }
	query := "?sessionId=" + id
	require.Equal(t, `{"prompts":[{"name":"hello"},{"name":"bye"}]}`, get(pathPrompts+query))
	require.Equal(t, `{"prompts":[{"name":"hello"}],"nextCursor":"2"}`, get(pathPrompts+query+"&cursor="))
	require.Equal(t, `{"prompts":[{"name":"bye"}]}`, get(pathPrompts+query+"&cursor=2"))
	require.Equal(t, `{"resources":[{"uri":"file:///a","name":"a"}]}`, get(pathResources+query))
	require.Equal(t, `{"resourceTemplates":[{"uriTemplate":"file:///{x}","name":"x"}]}`, get(pathTemplates+query))
	require.Equal(t, raw["prompts/get"], send(pathPrompt, `{"name":"hello"}`).body)
	require.Equal(t, raw["resources/read"], send(pathResource, `{"uri":"file:///a"}`).body)
	require.Equal(t, raw["completion/complete"], send(pathCompletion, `{"ref":{"type":"ref/prompt","name":"hello"},"argument":{"name":"a","value":""}}`).body)
	require.Equal(t, 502, send(pathPrompt, `{"name":"broken"}`).status, "no messages")
	require.Contains(t, get(pathServer+query), `"protocolVersion":"2026-07-28"`)

	w.as.RevokeAll()
	a := send(pathResource, `{"uri":"file:///a"}`)
	require.Equal(t, 401, a.status, a.body)
	require.True(t, httpapi.IsConnectAuthRequired(a.Response))
	require.Equal(t, 200, b.send("GET", b.approve(a), "").status)
	require.Equal(t, 200, send(pathResource, `{"uri":"file:///a"}`).status)
}
