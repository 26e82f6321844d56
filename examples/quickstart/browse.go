package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
)

// maxPage bounds what is read of an answer.
const maxPage = 1 << 20

// newBrowser returns a client with a cookie jar, which shows redirects instead
// of following them.
func newBrowser(transport http.RoundTripper) (*http.Client, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	return &http.Client{
		Transport:     transport,
		Jar:           jar,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// page is what a browser got.
type page struct {
	header   http.Header
	body     []byte
	location string // where a redirect leads
}

// browse sends a request and fails unless the answer has one of the statuses.
// Its errors have no URL in them: its parameters are secrets.
func browse(ctx context.Context, client *http.Client, method, target string, header http.Header, body []byte, want ...int) (page, error) {
	req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return page{}, reason(err)
	}
	req.Header = header
	resp, err := client.Do(req)
	if err != nil {
		return page{}, reason(err)
	}
	defer resp.Body.Close()
	p := page{header: resp.Header}
	if p.body, err = io.ReadAll(io.LimitReader(resp.Body, maxPage)); err != nil {
		return page{}, reason(err)
	}
	if !slices.Contains(want, resp.StatusCode) {
		return page{}, fmt.Errorf("want HTTP status %v, got %s", want, resp.Status)
	}
	if location, err := resp.Location(); err == nil {
		p.location = location.String()
	}
	return p, nil
}

// reason takes the URL out of an error of net/http.
func reason(err error) error {
	if urlErr, ok := errors.AsType[*url.Error](err); ok {
		return urlErr.Err
	}
	return err
}
