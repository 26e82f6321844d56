package chaos_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/internal/authtest"
)

// user is a person with a browser and a front end, who uses one MCP server
// through the replica that the load balancer chooses.
type user struct {
	w    *world
	name string

	mu      sync.Mutex // one operation at a time
	random  *rand.Rand
	cookies map[string]string
	id      string   // of the session; empty for none
	leaving bool     // has asked to disconnect, and was not told that it is done
	removed []string // sessions that have ended
}

func newUsers(w *world, n int, random *rand.Rand) []*user {
	users := make([]*user, n)
	for i := range users {
		users[i] = &user{
			w: w, name: fmt.Sprintf("user-%d", i), cookies: make(map[string]string),
			random: rand.New(rand.NewPCG(random.Uint64(), random.Uint64())),
		}
	}
	return users
}

// answer is what a front end gets.
type answer struct {
	status    int    // 0 when the replica does not answer
	code      string // of an error
	authURL   string
	sessionID string
	body      []byte
}

func (a answer) ok() bool { return a.status == http.StatusOK }

// outcome names an answer to an operation, as in "call 503 store_unavailable".
func (a answer) outcome(op string) string {
	if a.code == "" {
		return fmt.Sprintf("%s %d", op, a.status)
	}
	return fmt.Sprintf("%s %d %s", op, a.status, a.code)
}

// send sends one request to a replica.
func (u *user) send(ctx context.Context, r *replica, method, path string, body any) answer {
	var payload io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return answer{code: err.Error()}
		}
		payload = bytes.NewReader(encoded)
	}
	req, err := http.NewRequestWithContext(ctx, method, r.base+path, payload)
	if err != nil {
		return answer{code: err.Error()}
	}
	req.Header.Set(userHeader, u.name)
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for name, value := range u.cookies {
		req.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	resp, err := r.client.RoundTrip(req)
	if err != nil {
		return answer{code: "unreachable"}
	}
	defer resp.Body.Close()
	for _, c := range resp.Cookies() {
		u.cookies[c.Name] = c.Value
	}
	return readAnswer(resp)
}

func readAnswer(resp *http.Response) answer {
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{code: "unreachable"}
	}
	var fields struct {
		Code         string `json:"code"`
		RequiresAuth bool   `json:"requiresAuth"`
		AuthURL      string `json:"authUrl"`
		SessionID    string `json:"sessionId"`
	}
	if err := json.Unmarshal(data, &fields); err != nil {
		return answer{status: resp.StatusCode, code: "not JSON"}
	}
	a := answer{status: resp.StatusCode, code: fields.Code, authURL: fields.AuthURL, sessionID: fields.SessionID, body: data}
	if fields.RequiresAuth {
		a.code = "requires_auth"
	}
	return a
}

// call calls a tool that says whose token it was called with.
func (u *user) call(ctx context.Context, r *replica) answer {
	a := u.send(ctx, r, http.MethodPost, apiPrefix+"/tool/call", httpapi.CallToolRequest{SessionID: u.id, ToolName: "whoami"})
	if !a.ok() {
		return a
	}
	var result struct {
		StructuredContent struct {
			User string `json:"user"`
		} `json:"structuredContent"`
	}
	if err := json.Unmarshal(a.body, &result); err != nil || result.StructuredContent.User != u.name {
		a.code = "another user's token"
	}
	return a
}

func (u *user) list(ctx context.Context, r *replica) answer {
	return u.send(ctx, r, http.MethodGet, apiPrefix+"/tool/list?sessionId="+u.id, nil)
}

func (u *user) status(ctx context.Context, r *replica) answer {
	return u.send(ctx, r, http.MethodGet, apiPrefix+"/auth/status?sessionId="+u.id, nil)
}

func (u *user) disconnect(ctx context.Context, r *replica) answer {
	a := u.send(ctx, r, http.MethodPost, apiPrefix+"/auth/disconnect", httpapi.DisconnectRequest{SessionID: u.id})
	// A second attempt finds nothing if the first one was carried out.
	done := a.ok() || u.leaving && a.status == http.StatusNotFound
	u.leaving = !done
	if done {
		u.removed = append(u.removed, u.id)
		u.id = ""
		a.code = ""
		a.status = http.StatusOK
	}
	return a
}

// begin asks for a session; the answer has the URL to authorize at.
func (u *user) begin(ctx context.Context, r *replica) answer {
	return u.send(ctx, r, http.MethodPost, apiPrefix+"/auth/connect", httpapi.ConnectRequest{ServerURL: u.w.mcp.URL()})
}

// authorize visits the authorization server and returns the path of the
// callback that the browser is sent to.
func (u *user) authorize(ctx context.Context, authURL string) (path string, err error) {
	back, err := authtest.Browser{User: u.name}.Approve(ctx, authURL)
	if err != nil {
		return "", err
	}
	target, err := url.Parse(back)
	if err != nil {
		return "", err
	}
	return target.RequestURI(), nil
}

// finish brings the browser's callback to a replica.
func (u *user) finish(ctx context.Context, r *replica, path string) answer {
	return u.send(ctx, r, http.MethodGet, path, nil)
}
