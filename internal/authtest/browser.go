package authtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// Browser visits authorization URLs the way a user's browser does.
type Browser struct {
	// User is who sits in front of it. Defaults to the server's Options.User.
	User string
	// Client sends the requests; its CheckRedirect is not used.
	// Defaults to [http.DefaultClient].
	Client *http.Client
}

// Approve visits an authorization URL of this server and says yes. It returns
// where the browser is sent then, without going there: the callback URL with
// either code or error. A server that shows an error instead of sending the
// browser back, as for an unknown client, is an error here.
func (s *Server) Approve(ctx context.Context, authURL string) (callbackURL string, err error) {
	return Browser{}.Approve(ctx, authURL)
}

// Deny is [Server.Approve] with a user who says no.
func (s *Server) Deny(ctx context.Context, authURL string) (callbackURL string, err error) {
	return Browser{}.Deny(ctx, authURL)
}

// Approve is [Server.Approve] with this browser.
func (b Browser) Approve(ctx context.Context, authURL string) (callbackURL string, err error) {
	return b.visit(ctx, authURL, decideApprove)
}

// Deny is [Server.Deny] with this browser.
func (b Browser) Deny(ctx context.Context, authURL string) (callbackURL string, err error) {
	return b.visit(ctx, authURL, decideDeny)
}

func (b Browser) visit(ctx context.Context, authURL, decision string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, authURL, nil)
	if err != nil {
		return "", fmt.Errorf("authtest: visit: %w", err)
	}
	if decision == decideDeny {
		req.Header.Set(decisionHeader, decision)
	}
	status, location, err := b.send(req)
	if err == nil && status == http.StatusOK { // a consent page
		form := strings.NewReader(url.Values{"decision": {decision}}.Encode())
		req, err = http.NewRequestWithContext(ctx, http.MethodPost, authURL, form)
		if err != nil {
			return "", fmt.Errorf("authtest: visit: %w", err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		_, location, err = b.send(req)
	}
	return location, err
}

// send returns the status and, for a redirect, where it leads.
func (b Browser) send(req *http.Request) (status int, location string, err error) {
	client := http.Client{}
	if b.Client != nil {
		client = *b.Client
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	if b.User != "" {
		req.Header.Set(userHeader, b.User)
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", fmt.Errorf("authtest: visit: %w", err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxBody))
	next, err := resp.Location()
	switch {
	case err == nil:
		return resp.StatusCode, next.String(), nil
	case !errors.Is(err, http.ErrNoLocation):
		return 0, "", fmt.Errorf("authtest: visit: %w", err)
	case resp.StatusCode == http.StatusOK && req.Method == http.MethodGet:
		return resp.StatusCode, "", nil
	}
	return 0, "", fmt.Errorf("authtest: the authorization page answered %s and no redirect", resp.Status)
}
