package oauthtest

import (
	"bytes"
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
	// User is the user who is signed in at the authorization server. Defaults to
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
	page, err := b.Open(ctx, callbackURL)
	if err == nil && page.StatusCode >= http.StatusBadRequest {
		err = fmt.Errorf("oauthtest: the callback answered %s", page.Status)
	}
	return err
}

// Open goes to a URL, such as the one that Deny returns, and follows redirects.
// It returns the page at the end, whose body can be read and need not be closed.
func (b Browser) Open(ctx context.Context, target string) (page *http.Response, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, errors.New("oauthtest: open: not a URL") // which may have a code in it
	}
	req.Header.Set("Accept", "text/html")
	client := b.Client
	if client == nil {
		client = http.DefaultClient
	}
	page, err = client.Do(req)
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err // without the URL
	}
	if err != nil {
		return nil, fmt.Errorf("oauthtest: open: %w", err)
	}
	defer page.Body.Close()
	body, err := io.ReadAll(io.LimitReader(page.Body, maxPage))
	if err != nil {
		return nil, fmt.Errorf("oauthtest: open: %w", err)
	}
	page.Body = io.NopCloser(bytes.NewReader(body))
	return page, nil
}

// maxPage is how much of a page is read, in bytes.
const maxPage = 1 << 20
