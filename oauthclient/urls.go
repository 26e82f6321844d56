package oauthclient

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// CheckServerURL reports whether raw can be [Config.ServerURL]. The error does
// not repeat the URL, which may hold an API key.
func CheckServerURL(raw string) error {
	if raw == "" {
		return errors.New("is missing")
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return errors.New("is not a URL")
	case u.Scheme != "http" && u.Scheme != "https":
		return errors.New("must be an absolute http or https URL")
	case u.Hostname() == "":
		return errors.New("has no host")
	case u.User != nil:
		return errors.New("must not contain user info")
	case u.Fragment != "" || strings.Contains(raw, "#"):
		return errors.New("must not have a fragment")
	}
	return nil
}

// CheckCallbackURL reports whether raw can be [Config.CallbackURL]: a web or
// native redirect URI (RFC 8252 section 7), not one that a browser would run.
func CheckCallbackURL(raw string) error {
	if raw == "" {
		return errors.New("is missing")
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil || !u.IsAbs():
		return errors.New("must be an absolute URL")
	case slices.Contains([]string{"javascript", "data", "vbscript", "file"}, u.Scheme):
		return fmt.Errorf("scheme %q cannot be a redirect URI", u.Scheme)
	case u.Fragment != "" || strings.Contains(raw, "#"):
		return errors.New("must not have a fragment (RFC 6749 section 3.1.2)")
	case (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() == "":
		return errors.New("has no host")
	}
	return nil
}
