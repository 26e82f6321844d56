package oauthclient

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/mcpoauth/mcpoauth/internal/netguard"
)

// NormalizeServerURL checks that raw can be [Config.ServerURL] and returns the
// one spelling of it that is stored and compared: scheme and host in lower
// case, an internationalized host in punycode, without the scheme's default
// port, a lone slash as the path, or an empty query. The error does not repeat
// the URL, which may hold an API key.
func NormalizeServerURL(raw string) (string, error) {
	if raw == "" {
		return "", errors.New("is missing")
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return "", errors.New("is not a URL")
	case u.Scheme != "http" && u.Scheme != "https": // url.Parse lowers the case
		return "", errors.New("must be an absolute http or https URL")
	case u.Hostname() == "":
		return "", errors.New("has no host")
	case u.User != nil:
		return "", errors.New("must not contain user info")
	case u.Fragment != "" || strings.Contains(raw, "#"):
		return "", errors.New("must not have a fragment")
	}
	host, err := netguard.ASCIIHost(u.Hostname())
	if err != nil {
		return "", errors.New("has a host that is no valid name")
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port := u.Port(); port != "" && port != defaultPort(u.Scheme) {
		host += ":" + port
	}
	u.Host, u.ForceQuery = host, false
	if u.Path == "/" {
		u.Path = ""
	}
	return u.String(), nil
}

// CheckServerURL reports whether raw can be [Config.ServerURL].
func CheckServerURL(raw string) error {
	_, err := NormalizeServerURL(raw)
	return err
}

// defaultPort returns the port of a URL that names none.
func defaultPort(scheme string) string {
	if scheme == "http" {
		return "80"
	}
	return "443"
}

// browserSchemes are the schemes that a browser handles itself.
var browserSchemes = []string{"about", "blob", "data", "file", "filesystem", "ftp", "javascript", "vbscript", "view-source", "ws", "wss"}

// CheckCallbackURL reports whether raw can be [Config.CallbackURL]: https, http
// on loopback, or a private-use scheme of a native app (RFC 8252 section 7).
func CheckCallbackURL(raw string) error {
	if raw == "" {
		return errors.New("is missing")
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil || !u.IsAbs():
		return errors.New("must be an absolute URL")
	case slices.Contains(browserSchemes, u.Scheme):
		return fmt.Errorf("scheme %q cannot be a redirect URI", u.Scheme)
	case u.Fragment != "" || strings.Contains(raw, "#"):
		return errors.New("must not have a fragment (RFC 6749 section 3.1.2)")
	case (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() == "":
		return errors.New("has no host")
	case u.Scheme == "http" && !netguard.IsLoopback(u.Hostname()):
		return errors.New("must be https, except on loopback")
	}
	return nil
}
