package httpapi

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/mcpoauth/mcpoauth/session"
)

// status answers with the status of a session, from its record alone. With wait= it
// holds the request until the answer is another one than since= names, or than
// the first one, or until the time is over.
func (c *call) status() error {
	if err := c.querySession(); err != nil {
		return err
	}
	query := c.r.URL.Query()
	wait, err := c.wait(query.Get("wait"))
	if err != nil {
		return err
	}
	caller, err := c.caller()
	if err != nil {
		return err
	}
	ctx, over := context.WithCancel(c.r.Context())
	defer over()
	attemptID, since := query.Get("attemptId"), query.Get("since")
	var answer SessionStatus
	err = c.h.manager.WaitStatus(ctx, caller, c.sessionID, attemptID, func(info session.Info, attempt session.AttemptInfo) bool {
		first := answer.Version == ""
		answer = sessionStatus(info)
		if attemptID != "" {
			answer.Attempt = attemptStatus(attempt)
		}
		answer.Version = answer.version()
		if since == "" {
			since = answer.Version
		}
		if wait == 0 || answer.Version != since {
			return true
		}
		if first { // the time of the wait begins with the first status, however slow the store is
			c.bound(ctx, over, wait)
		}
		return false
	})
	held := ctx.Err() != nil && c.r.Context().Err() == nil && answer.Version != ""
	if err != nil && (!held || errors.Is(err, session.ErrNotFound)) {
		return err
	}
	return c.writeJSON(http.StatusOK, answer)
}

// bound calls over after a time, or when the server of the request shuts down,
// until ctx ends.
func (c *call) bound(ctx context.Context, over func(), after time.Duration) {
	timer := time.AfterFunc(after, over)
	unplug := context.AfterFunc(c.h.shutdowns.of(c.r), over)
	context.AfterFunc(ctx, func() {
		timer.Stop()
		unplug()
	})
}

// wait reads the number of seconds that a request may be held.
func (c *call) wait(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	seconds, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return 0, invalid("wait must be a number of seconds.")
	}
	return min(time.Duration(seconds)*time.Second, c.h.cfg.MaxStatusWait), nil
}

// version names the content of an answer. ExpiresAt does not count: use of the
// session moves it, and would end every wait.
func (s SessionStatus) version() string {
	s.SessionID, s.ExpiresAt = "", time.Time{}
	encoded, err := json.Marshal(s)
	if err != nil {
		return fmt.Sprint(err) // texts and a struct of texts: cannot fail
	}
	sum := sha256.Sum256(encoded)
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}

// shutdowns knows which servers of a [Handler] shut down: http.Server.Shutdown
// waits for requests, which must not be held then.
type shutdowns struct {
	mu      sync.Mutex
	servers map[*http.Server]context.Context
}

// of returns a context that ends when the server of a request begins to shut
// down.
func (s *shutdowns) of(r *http.Request) context.Context {
	server, ok := r.Context().Value(http.ServerContextKey).(*http.Server)
	if !ok {
		return context.Background()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx := s.servers[server]; ctx != nil {
		return ctx
	}
	ctx, cancel := context.WithCancel(context.Background())
	server.RegisterOnShutdown(cancel)
	if s.servers == nil {
		s.servers = make(map[*http.Server]context.Context)
	}
	s.servers[server] = ctx
	return ctx
}
