package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"time"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/internal/authtest"
)

const (
	apiPrefix = "/api/mcp"
	// retryPause is how long a front end waits before it tries again.
	retryPause = 100 * time.Millisecond
)

// user is a person with a browser, whose front end talks to the load balancer.
type user struct {
	w         *world
	name      string
	browser   *http.Client
	sessionID string
}

func newUser(w *world, name string) (*user, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	return &user{w: w, name: name, browser: &http.Client{Jar: jar}}, nil
}

// answer is what a front end looks at.
type answer struct {
	status       int
	RequiresAuth bool   `json:"requiresAuth"`
	AuthURL      string `json:"authUrl"`
	SessionID    string `json:"sessionId"`
	Error        string `json:"error"`

	StructuredContent struct {
		User string `json:"user"`
	} `json:"structuredContent"`
}

// tryAgain reports whether the same request may succeed soon.
func (a *answer) tryAgain() bool { return a.status >= http.StatusBadGateway }

// send sends one request to a base URL.
func (u *user) send(ctx context.Context, method, target string, body any) (*answer, error) {
	encoded, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(encoded))
	if err != nil {
		return nil, err
	}
	req.Host = strings.TrimPrefix(u.w.publicURL, "http://") // also where a host is asked directly
	req.Header.Set("Accept", "application/json")
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := u.browser.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	a := &answer{}
	if json.Unmarshal(data, a) != nil {
		a.Error = http.StatusText(resp.StatusCode)
	}
	a.status = resp.StatusCode
	return a, nil
}

// connect is connect, authorize and callback.
func (u *user) connect(ctx context.Context) error {
	a, err := u.send(ctx, http.MethodPost, u.w.publicURL+apiPrefix+"/auth/connect", httpapi.ConnectRequest{ServerURL: u.w.mcp.URL()})
	if err != nil {
		return err
	}
	if !a.RequiresAuth {
		return fmt.Errorf("%s connects: HTTP status %d %s", u.name, a.status, a.Error)
	}
	u.sessionID = a.SessionID
	back, err := authtest.Browser{User: u.name}.Approve(ctx, a.AuthURL)
	if err != nil {
		return err
	}
	target, err := url.Parse(back)
	if err != nil {
		return err
	}
	if a, err = u.send(ctx, http.MethodGet, u.w.publicURL+target.RequestURI(), nil); err != nil {
		return err
	}
	if a.status != http.StatusOK {
		return fmt.Errorf("%s comes back: HTTP status %d %s", u.name, a.status, a.Error)
	}
	return nil
}

// call calls a tool at a base URL once. The tool says whose token it got.
func (u *user) call(ctx context.Context, base string) (*answer, error) {
	a, err := u.send(ctx, http.MethodPost, base+apiPrefix+"/tool/call", httpapi.CallToolRequest{SessionID: u.sessionID, ToolName: "whoami"})
	if err == nil && a.status == http.StatusOK && a.StructuredContent.User != u.name {
		return nil, fmt.Errorf("%s got an answer for %s", u.name, a.StructuredContent.User)
	}
	return a, err
}

// disconnect ends the session.
func (u *user) disconnect(ctx context.Context) error {
	a, err := u.send(ctx, http.MethodPost, u.w.publicURL+apiPrefix+"/auth/disconnect", httpapi.DisconnectRequest{SessionID: u.sessionID})
	if err == nil && a.status != http.StatusOK {
		err = fmt.Errorf("%s disconnects: HTTP status %d %s", u.name, a.status, a.Error)
	}
	return err
}
