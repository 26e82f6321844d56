package sqltest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/internal/authtest"
)

const (
	publicURL  = "https://app.example"
	apiPrefix  = "/api/mcp"
	userHeader = "X-User" // stands for the host's own login

	loadWorkers = 6
	loadPause   = 4 * time.Millisecond // between two operations of a worker
	patience    = time.Minute

	leastRefreshes = 5 // in every progress
)

// user is a person with a browser, who uses any replica.
type user struct {
	w    *world
	name string

	mu      sync.Mutex // one operation at a time
	cookies map[string]string
	id      string   // of the session; empty for none
	leaving bool     // has asked to disconnect, and was not told that it is done
	removed []string // sessions that have ended
}

// answer is what a front end gets.
type answer struct {
	status    int
	code      string // of an error
	authURL   string
	sessionID string
	body      string
}

func (u *user) send(h http.Handler, method, path string, body any) answer {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	encoded, _ := json.Marshal(body)
	r := httptest.NewRequestWithContext(ctx, method, publicURL+path, bytes.NewReader(encoded))
	r.Header.Set(userHeader, u.name)
	r.Header.Set("Accept", "application/json")
	r.Header.Set("Content-Type", "application/json")
	for name, value := range u.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	for _, c := range rec.Result().Cookies() {
		u.cookies[c.Name] = c.Value
	}
	var fields struct {
		Code         string `json:"code"`
		RequiresAuth bool   `json:"requiresAuth"`
		AuthURL      string `json:"authUrl"`
		SessionID    string `json:"sessionId"`
	}
	a := answer{status: rec.Code, body: rec.Body.String()}
	if err := json.Unmarshal(rec.Body.Bytes(), &fields); err != nil {
		a.code = "not JSON"
		return a
	}
	a.code, a.authURL, a.sessionID = fields.Code, fields.AuthURL, fields.SessionID
	if fields.RequiresAuth {
		a.code = "requires_auth"
	}
	return a
}

// call calls a tool that says whose token it was called with.
func (u *user) call(h http.Handler) answer {
	a := u.send(h, http.MethodPost, apiPrefix+"/tool/call", httpapi.CallToolRequest{SessionID: u.id, ToolName: "whoami"})
	if a.status == http.StatusOK && !strings.Contains(a.body, `"`+u.name+`"`) {
		a.code = "another user's token"
	}
	return a
}

func (u *user) status(h http.Handler, id string) answer {
	return u.send(h, http.MethodGet, apiPrefix+"/auth/status?sessionId="+id, nil)
}

func (u *user) disconnect(h http.Handler) answer {
	a := u.send(h, http.MethodPost, apiPrefix+"/auth/disconnect", httpapi.DisconnectRequest{SessionID: u.id})
	// A second attempt finds nothing if the first one was carried out.
	if a.status == http.StatusNotFound && u.leaving {
		a = answer{status: http.StatusOK}
	}
	if u.leaving = a.status != http.StatusOK; !u.leaving {
		u.removed, u.id = append(u.removed, u.id), ""
	}
	return a
}

func (u *user) begin(h http.Handler) answer {
	return u.send(h, http.MethodPost, apiPrefix+"/auth/connect", httpapi.ConnectRequest{ServerURL: u.w.mcp.URL()})
}

// load is many users at work. What a user is answered beyond success has to be
// one of the codes that the test allows.
type load struct {
	t       *testing.T
	w       *world
	users   []*user
	allowed []string
	cancel  context.CancelFunc
	wg      sync.WaitGroup

	mu       sync.Mutex
	outcomes map[string]int
	total    int
	bad      []string
}

// startLoad connects all users, then lets them work.
func startLoad(t *testing.T, w *world, users int, allowed ...string) *load {
	t.Helper()
	l := &load{t: t, w: w, allowed: allowed, outcomes: make(map[string]int)}
	for i := range users {
		u := &user{w: w, name: fmt.Sprint("user-", i), cookies: make(map[string]string)}
		l.connect(u)
		require.NotEmpty(t, u.id, "not connected before it all begins: %v %v", l.summary(), l.bad)
		l.users = append(l.users, u)
	}
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	t.Cleanup(l.stop)
	for range loadWorkers {
		l.wg.Go(func() {
			for ctx.Err() == nil {
				l.step(l.users[rand.IntN(len(l.users))])
				time.Sleep(loadPause)
			}
		})
	}
	return l
}

// stop ends the load when every user's operation has ended.
func (l *load) stop() {
	l.cancel()
	l.wg.Wait()
}

// step is one operation of a user, if that user is not busy.
func (l *load) step(u *user) {
	if !u.mu.TryLock() {
		return
	}
	defer u.mu.Unlock()
	choice := rand.IntN(100)
	switch {
	case u.id == "":
		l.connect(u)
	case u.leaving || choice < 2:
		l.do(u, "disconnect", u.disconnect)
	case choice < 8:
		l.do(u, "status", func(h http.Handler) answer { return u.status(h, u.id) })
	default:
		l.do(u, "call", u.call)
	}
}

// connect is a user's way to a session. A callback that fails is sent again, as
// by a browser whose user reloads the page.
func (l *load) connect(u *user) {
	begun := l.do(u, "connect", u.begin)
	if begun.authURL == "" {
		return
	}
	back, err := authtest.Browser{User: u.name}.Approve(context.Background(), begun.authURL)
	if err != nil {
		l.complain(fmt.Sprintf("%s cannot authorize: %v", u.name, err))
		return
	}
	target, _ := url.Parse(back)
	for range 3 {
		a := l.do(u, "callback", func(h http.Handler) answer { return u.send(h, http.MethodGet, target.RequestURI(), nil) })
		if a.status == http.StatusOK {
			u.id = begun.sessionID
		}
		if a.status == http.StatusOK || a.status == http.StatusBadRequest {
			return
		}
	}
}

// do carries out one operation on any replica, and judges its answer.
func (l *load) do(u *user, op string, fn func(http.Handler) answer) answer {
	a := fn(l.w.replicas[rand.IntN(len(l.w.replicas))])
	fine := a.status == http.StatusOK && a.code == "" || op == "connect" && a.code == "requires_auth" || slices.Contains(l.allowed, a.code)
	l.mu.Lock()
	l.total++
	l.outcomes[strings.TrimSpace(fmt.Sprint(op, " ", a.status, " ", a.code))]++
	l.mu.Unlock()
	if !fine {
		l.complain(fmt.Sprintf("%s: %s %d %s", u.name, op, a.status, a.body))
	}
	return a
}

func (l *load) complain(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bad = append(l.bad, text)
}

func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total
}

// progress waits for n more answers, and for some refreshes.
func (l *load) progress(n int) {
	l.t.Helper()
	goal, refreshes := l.count()+n, l.w.as.Counts().Refreshes+leastRefreshes
	require.Eventually(l.t, func() bool { return l.count() >= goal && l.w.as.Counts().Refreshes >= refreshes },
		patience, 5*time.Millisecond, "the load goes on")
}

func (l *load) summary() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var parts []string
	for _, outcome := range slices.Sorted(maps.Keys(l.outcomes)) {
		parts = append(parts, fmt.Sprint(l.outcomes[outcome], " × ", outcome))
	}
	return strings.Join(parts, ", ")
}
