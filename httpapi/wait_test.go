package httpapi_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/session"
)

func statusOf(t testing.TB, body string) (status httpapi.SessionStatus) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(body), &status), body)
	return status
}

// A page that waits on one replica is answered when the callback has arrived on
// the other, whatever came of it.
func TestStatusWaitsForTheCallback(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	first := w.replica(t)
	b := w.browser(t, "")
	for _, want := range []string{"succeeded", "failed"} {
		a := b.connect()
		target := pathStatus + "?" + url.Values{"sessionId": {a.AuthRequired.SessionID}, "attemptId": {a.AuthRequired.AttemptID}}.Encode()
		now := statusOf(t, b.send("GET", target, "").body)
		require.Equal(t, "pending", now.Attempt.Status)
		require.NotEmpty(t, now.Version)
		require.Equal(t, now.Version, statusOf(t, b.send("GET", target, "").body).Version, "the same answer has the same version")

		answers := make(chan *httptest.ResponseRecorder, 1)
		go func() {
			r := httptest.NewRequestWithContext(t.Context(), "GET", w.url+target+"&wait=25&since="+now.Version, nil)
			toHost(r, first)
			rec := httptest.NewRecorder()
			first.ServeHTTP(rec, r)
			answers <- rec
		}()
		w.replica(t)
		decide := w.as.Approve
		if want == "failed" {
			decide = w.as.Deny
		}
		callback, err := decide(t.Context(), a.AuthRequired.AuthURL)
		require.NoError(t, err)
		b.send("GET", callback, "")
		rec := <-answers
		require.Equal(t, 200, rec.Code)
		status := statusOf(t, rec.Body.String())
		require.NotEqual(t, now.Version, status.Version)
		for range 3 { // the session changes before the attempt
			if status.Attempt.Status != "pending" {
				break
			}
			status = statusOf(t, b.send("GET", target+"&wait=25&since="+status.Version, "").body)
		}
		require.Equal(t, want, status.Attempt.Status)
		require.Equal(t, 200, b.send("GET", target+"&wait=25&since=another", "").status, "what has changed already is not waited for")
	}
}

// A wait takes as long as it asks for, MaxStatusWait at most, and then says what
// there is.
func TestStatusWaitsAreBounded(t *testing.T) {
	t.Parallel()
	for wait, want := range map[string]time.Duration{"": 0, "&wait=0": 0, "&wait=3": 3 * time.Second, "&wait=1000": 25 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			h, _ := newFake(t, &fake{})
			begun := time.Now()
			w := request(t, h, "GET", pathStatus+"?sessionId=s"+wait, "")
			require.Equal(t, 200, w.Code)
			require.Equal(t, want, time.Since(begun), wait)
			version := statusOf(t, w.Body.String()).Version
			begun = time.Now()
			w = request(t, h, "GET", pathStatus+"?sessionId=s&since="+version+wait, "")
			require.Equal(t, want, time.Since(begun), wait)
			require.Equal(t, version, statusOf(t, w.Body.String()).Version)
		})
	}
	h, _ := newFake(t, &fake{}, func(c *httpapi.Config) { c.MaxStatusWait = time.Millisecond })
	require.Equal(t, 200, request(t, h, "GET", pathStatus+"?sessionId=s&wait=25", "").Code)
	for _, wait := range []string{"-1", "x", "1.5", "99999999999999999999"} {
		w := request(t, h, "GET", pathStatus+"?sessionId=s&wait="+wait, "")
		require.Equal(t, 400, w.Code, wait)
		require.Equal(t, httpapi.CodeInvalidRequest, errorOf(t, w).Code)
	}
}

// The version is of what the answer says: use, which moves the expiry, is none.
func TestStatusVersions(t *testing.T) {
	t.Parallel()
	f := &fake{attempt: session.AttemptInfo{Status: session.AttemptPending}}
	h, _ := newFake(t, f)
	version := func() string {
		return statusOf(t, request(t, h, "GET", pathStatus+"?sessionId=s&attemptId=a", "").Body.String()).Version
	}
	seen := map[string]bool{}
	for _, change := range []func(){
		func() {},
		func() { f.info.Status = session.StatusFailed },
		func() { f.info.Reason = "x" },
		func() { f.info.AuthorizationReason = "expired" },
		func() { f.attempt.Status = session.AttemptSucceeded },
		func() { f.attempt.Status = session.AttemptFailed },
		func() { f.attempt.Code = httpapi.CodeAccessDenied },
	} {
		change()
		require.False(t, seen[version()])
		seen[version()] = true
	}
	before := version()
	f.info.ExpiresAt = time.Now()
	require.Equal(t, before, version())
}

// Waiting requests count as requests in flight.
func TestWaitsAreBoundedPerCaller(t *testing.T) {
	t.Parallel()
	const most = 3
	f := &fake{}
	h, _ := newFake(t, f, byHeader, func(c *httpapi.Config) { c.MaxRequestsInFlight = most })
	ctx, leave := context.WithCancel(t.Context())
	ended := make(chan struct{}, most)
	for range most {
		go func() {
			r := httptest.NewRequestWithContext(ctx, "GET", publicURL+pathStatus+"?sessionId=s&wait=25", nil)
			r.Header.Set(userHeader, "alice")
			h.ServeHTTP(httptest.NewRecorder(), r)
			ended <- struct{}{}
		}()
	}
	require.Eventually(t, func() bool { return len(f.called()) == most }, time.Minute, time.Millisecond)
	w := request(t, h, "GET", pathStatus+"?sessionId=s", "", userHeader, "alice")
	require.Equal(t, 429, w.Code)
	require.Equal(t, httpapi.CodeRateLimited, errorOf(t, w).Code)
	require.Equal(t, 200, request(t, h, "GET", pathStatus+"?sessionId=s", "", userHeader, "bob").Code)
	leave() // all of them disconnect
	for range most {
		<-ended
	}
	require.Equal(t, 200, request(t, h, "GET", pathStatus+"?sessionId=s", "", userHeader, "alice").Code)
}

// A server that shuts down answers the requests that wait.
func TestShutdownEndsWaits(t *testing.T) {
	t.Parallel()
	f := &fake{}
	h, _ := newFake(t, f, func(c *httpapi.Config) { c.MaxStatusWait = time.Hour })
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		toHost(r, h)
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	const waiters = 5
	answers := make(chan string, waiters)
	for i := range waiters {
		go func() {
			resp, err := server.Client().Get(server.URL + pathStatus + "?wait=3600&sessionId=" + strconv.Itoa(i))
			if err != nil {
				answers <- err.Error()
				return
			}
			answers <- readAll(t, resp.Body)
		}()
	}
	require.Eventually(t, func() bool { return len(f.called()) == waiters }, time.Minute, time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, server.Config.Shutdown(ctx))
	for range waiters {
		require.True(t, strings.HasPrefix(<-answers, `{"sessionId":`))
	}
}

// What the status is, a store that is slow says all the same, and a server that
// already shuts down. A session that was removed in the last moment is gone.
func TestStatus_WaitEndsWithASlowStoreAndAtShutdown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fake{reading: 2 * time.Second}
		h, _ := newFake(t, f)
		server := new(http.Server)
		get := func(query string) *httptest.ResponseRecorder {
			ctx := context.WithValue(t.Context(), http.ServerContextKey, server)
			r := httptest.NewRequestWithContext(ctx, "GET", publicURL+pathStatus+"?sessionId=s"+query, nil)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			return w
		}
		begun := time.Now()
		w := get("&wait=1")
		require.Equal(t, 200, w.Code)
		require.NotEmpty(t, statusOf(t, w.Body.String()).Version)
		require.Equal(t, 3*time.Second, time.Since(begun))

		f.removed = true
		require.Equal(t, 404, get("&wait=1").Code)

		f.removed = false
		require.NoError(t, server.Shutdown(t.Context()))
		synctest.Wait()
		begun = time.Now()
		require.Equal(t, 200, get("&wait=20").Code)
		require.Equal(t, 2*time.Second, time.Since(begun))
	})
}
