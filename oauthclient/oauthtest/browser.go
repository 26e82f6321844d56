package oauthtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
)

// Browser is the browser of a user who authorizes at an [AuthServer].
type Browser struct {
	// User is who is signed in at the authorization server. Defaults to
	// [AuthServerConfig].User.
	User string
	// Client sends the requests, and has the cookies of the host. Defaults to
	// [http.DefaultClient], which has no cookies.
	Client *http.Client
}

// Approve opens an authorization URL and says yes. It returns the callback URL,
// with a code or an error in it, without going there. A page that shows an error
// and does not lead back, as for an unknown client, is an error.
func (b Browser) Approve(ctx context.Context, authURL string) (callbackURL string, err error) {
	return authtest.Browser{User: b.User, Client: b.Client}.Approve(ctx, authURL)
}

// Deny opens an authorization URL and says no. It returns the callback URL.
func (b Browser) Deny(ctx context.Context, authURL string) (callbackURL string, err error) {
	return authtest.Browser{User: b.User, Client: b.Client}.Deny(ctx, authURL)
}

// Authorize opens an authorization URL, says yes, and goes to the callback URL,
// whose status must be below 400.
func (b Browser) Authorize(ctx context.Context, authURL string) error {
	callbackURL, err := b.Approve(ctx, authURL)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, callbackURL, nil)
	if err != nil {
		return fmt.Errorf("oauthtest: callback: %w", err)
	}
	req.Header.Set("Accept", "text/html")
	client := b.Client
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(req)
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err // the URL has a code in it
	}
	if err != nil {
		return fmt.Errorf("oauthtest: callback: %w", err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	if resp.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("oauthtest: the callback answered %s", resp.Status)
	}
	return nil
}
