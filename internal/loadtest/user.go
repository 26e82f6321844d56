package loadtest

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

// User is a person with a browser and a front end, who uses one MCP server
// through the replica that the load balancer chooses.
type User struct {
	Name      string
	ServerURL string // of the MCP server
	ID        string // of the session; empty for none

	mu      sync.Mutex // one operation at a time
	random  *rand.Rand
	cookies map[string]string
	leaving bool     // has asked to disconnect, and was not told that it is done
	removed []string // sessions that have ended
}

// NewUsers returns users of one MCP server, who choose what they do by random.
func NewUsers(n int, serverURL string, random *rand.Rand) []*User {
	users := make([]*User, n)
	for i := range users {
		users[i] = &User{
			Name: fmt.Sprintf("user-%d", i), ServerURL: serverURL, cookies: make(map[string]string),
			random: rand.New(rand.NewPCG(random.Uint64(), random.Uint64())),
		}
	}
	return users
}

// Answer is what a front end gets.
type Answer struct {
	Status    int    // 0 when the replica does not answer
	Code      string // of an error
	AuthURL   string
	SessionID string
	Body      []byte
}

// OK reports whether the answer has the status 200.
func (a Answer) OK() bool { return a.Status == http.StatusOK }

// Outcome names an answer to an operation, as in "call 503 store_unavailable".
func (a Answer) Outcome(op string) string {
	if a.Code == "" {
		return fmt.Sprintf("%s %d", op, a.Status)
	}
	return fmt.Sprintf("%s %d %s", op, a.Status, a.Code)
}

// send sends one request to a replica.
func (u *User) send(ctx context.Context, r *Replica, method, path string, body any) Answer {
	var payload io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return Answer{Code: err.Error()}
		}
		payload = bytes.NewReader(encoded)
	}
	req, err := http.NewRequestWithContext(ctx, method, r.Base+path, payload)
	if err != nil {
		return Answer{Code: err.Error()}
	}
	req.Header.Set(userHeader, u.Name)
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for name, value := range u.cookies {
		req.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	resp, err := r.Client.RoundTrip(req)
	if err != nil {
		return Answer{Code: "unreachable"}
	}
	defer resp.Body.Close()
	for _, c := range resp.Cookies() {
		u.cookies[c.Name] = c.Value
	}
	return readAnswer(resp)
}

func readAnswer(resp *http.Response) Answer {
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return Answer{Code: "unreachable"}
	}
	var fields struct {
		Code         string `json:"code"`
		RequiresAuth bool   `json:"requiresAuth"`
		AuthURL      string `json:"authUrl"`
		SessionID    string `json:"sessionId"`
	}
	if err := json.Unmarshal(data, &fields); err != nil {
		return Answer{Status: resp.StatusCode, Code: "not JSON"}
	}
	a := Answer{Status: resp.StatusCode, Code: fields.Code, AuthURL: fields.AuthURL, SessionID: fields.SessionID, Body: data}
	if fields.RequiresAuth {
		a.Code = "requires_auth"
	}
	return a
}

// Call calls a tool that says whose token it was called with.
func (u *User) Call(ctx context.Context, r *Replica) Answer {
	a := u.send(ctx, r, http.MethodPost, apiPrefix+"/tool/call", httpapi.CallToolRequest{SessionID: u.ID, ToolName: "whoami"})
	if !a.OK() {
		return a
	}
	var result struct {
		StructuredContent struct {
			User string `json:"user"`
		} `json:"structuredContent"`
	}
	if err := json.Unmarshal(a.Body, &result); err != nil || result.StructuredContent.User != u.Name {
		a.Code = "another user's token"
	}
	return a
}

func (u *User) list(ctx context.Context, r *Replica) Answer {
	return u.send(ctx, r, http.MethodGet, apiPrefix+"/tool/list?sessionId="+u.ID, nil)
}

func (u *User) status(ctx context.Context, r *Replica) Answer {
	return u.send(ctx, r, http.MethodGet, apiPrefix+"/auth/status?sessionId="+u.ID, nil)
}

func (u *User) disconnect(ctx context.Context, r *Replica) Answer {
	a := u.send(ctx, r, http.MethodPost, apiPrefix+"/auth/disconnect", httpapi.DisconnectRequest{SessionID: u.ID})
	// A second attempt finds nothing if the first one was carried out.
	done := a.OK() || u.leaving && a.Status == http.StatusNotFound
	u.leaving = !done
	if done {
		u.removed = append(u.removed, u.ID)
		u.ID = ""
		a.Code = ""
		a.Status = http.StatusOK
	}
	return a
}

// Begin asks for a session; the answer has the URL to authorize at.
func (u *User) Begin(ctx context.Context, r *Replica) Answer {
	return u.send(ctx, r, http.MethodPost, apiPrefix+"/auth/connect", httpapi.ConnectRequest{ServerURL: u.ServerURL})
}

// Authorize visits the authorization server and returns the path of the
// callback that the browser is sent to.
func (u *User) Authorize(ctx context.Context, authURL string) (path string, err error) {
	back, err := authtest.Browser{User: u.Name}.Approve(ctx, authURL)
	if err != nil {
		return "", err
	}
	target, err := url.Parse(back)
	if err != nil {
		return "", err
	}
	return target.RequestURI(), nil
}

// Finish brings the browser's callback to a replica.
func (u *User) Finish(ctx context.Context, r *Replica, path string) Answer {
	return u.send(ctx, r, http.MethodGet, path, nil)
}
