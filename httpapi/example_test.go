package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
	"github.com/mcpoauth/mcpoauth/store/memstore"
)

// A host mounts the endpoints; its front end connects, sends the user to
// authorize, and calls a tool.
func Example() {
	as := authtest.New(authtest.Options{}) // stands for the world outside
	defer as.Close()
	server := mcptest.New(mcptest.Options{Auth: as})
	defer server.Close()

	// The host.
	manager, err := session.New(session.Config{
		Store: memstore.New(memstore.Config{}),
		Client: oauthclient.Shared{
			Transport: oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowLoopback: true}), // for this example only
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer manager.Close()
	mux := http.NewServeMux()
	host := httptest.NewServer(mux)
	defer host.Close()
	h, err := httpapi.New(manager, httpapi.Config{PublicURL: host.URL})
	if err != nil {
		fmt.Println(err)
		return
	}
	mux.Handle("/api/mcp/", h)

	// The front end, in a browser, which keeps the cookie.
	jar, _ := cookiejar.New(nil)
	browser := &http.Client{Jar: jar}
	post := func(path string, body any) (r httpapi.Response) {
		data, _ := json.Marshal(body)
		resp, err := browser.Post(host.URL+path, "application/json", bytes.NewReader(data))
		if err != nil {
			fmt.Println(err)
			return r
		}
		defer resp.Body.Close()
		if err := json.NewDecoder(resp.Body).Decode(&r); err != nil {
			fmt.Println(err)
		}
		return r
	}
	connect := post("/api/mcp/auth/connect", httpapi.ConnectRequest{ServerURL: server.URL()})
	if !httpapi.IsConnectAuthRequired(connect) {
		fmt.Println("not what this server does")
		return
	}
	callback, _ := authtest.Browser{Client: browser}.Approve(context.Background(), connect.AuthRequired.AuthURL)
	resp, err := browser.Get(callback)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	fmt.Println(string(body))

	sum := post("/api/mcp/tool/call", httpapi.CallToolRequest{
		SessionID: connect.AuthRequired.SessionID, ToolName: "add", ToolArgs: json.RawMessage(`{"a":2,"b":40}`),
	})
	if httpapi.IsCallToolSuccess(sum) {
		fmt.Println(string(sum.CallToolSuccess.StructuredContent))
	}
	// Output:
	// {"success":true,"message":"Authorization completed"}
	// {"sum":42}
}

// A Go client decodes an answer first and then asks what it is.
func ExampleResponse() {
	for _, body := range []string{
		`{"success":true,"sessionId":"…"}`,
		`{"requiresAuth":true,"authUrl":"https://as.example/authorize?…","sessionId":"…"}`,
		`{"content":[{"type":"text","text":"no such file"}],"isError":true}`,
		`{"error":"There is no such session. Connect again.","code":"session_not_found"}`,
	} {
		var r httpapi.Response
		if err := json.Unmarshal([]byte(body), &r); err != nil {
			fmt.Println(err)
			return
		}
		switch {
		case httpapi.IsConnectSuccess(r):
			fmt.Println("connected")
		case httpapi.IsConnectAuthRequired(r):
			fmt.Println("open", r.AuthRequired.AuthURL)
		case httpapi.IsCallToolSuccess(r):
			fmt.Println("the tool ran; it failed:", r.CallToolSuccess.IsError)
		case httpapi.IsConnectError(r):
			fmt.Println(r.ErrorResponse.Code)
		}
	}
	// Output:
	// connected
	// open https://as.example/authorize?…
	// the tool ran; it failed: true
	// session_not_found
}

// All mistakes in a Config are reported at once.
func ExampleNew_mistakes() {
	_, err := httpapi.New(nil, httpapi.Config{PublicURL: "http://app.example.com", AfterCallback: "settings"})
	fmt.Println(err)
	// Output:
	// httpapi: New: the manager is nil
	// httpapi: Config.PublicURL: must be https, except on loopback
	// httpapi: Config.AfterCallback: must be an absolute http or https URL, or a path that starts with one slash
}

// A host with users says who is asking. Then no user reaches another user's
// sessions, not even with their ID.
func ExampleConfig_identify() {
	manager, err := session.New(session.Config{Store: memstore.New(memstore.Config{})})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer manager.Close()
	h, err := httpapi.New(manager, httpapi.Config{
		PublicURL: "https://app.example.com",
		Identify: func(r *http.Request) (string, error) {
			cookie, err := r.Cookie("login") // look it up in your own session store
			if err != nil {
				return "", err
			}
			return cookie.Value, nil
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/api/mcp/auth/sessions", nil))
	fmt.Println(w.Code, w.Body)

	r := httptest.NewRequest("GET", "/api/mcp/auth/sessions", nil)
	r.AddCookie(&http.Cookie{Name: "login", Value: "alice"})
	w = httptest.NewRecorder()
	h.ServeHTTP(w, r)
	fmt.Println(w.Code, w.Body)
	fmt.Println(h.CallbackURL())
	// Output:
	// 401 {"error":"Sign in first.","code":"unauthenticated"}
	// 200 {"sessions":[]}
	// https://app.example.com/api/mcp/auth/callback
}
