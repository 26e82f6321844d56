package oauthclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"golang.org/x/net/http/httpguts"
)

// CredentialsRejectedError says that the MCP server does not accept the headers
// that authenticate the connection ([Config.HeadersAuthenticate]). No
// authorization helps: the headers must be others.
type CredentialsRejectedError struct {
	// StatusCode is the server's answer: 401 or 403.
	StatusCode int
}

func (e *CredentialsRejectedError) Error() string {
	return fmt.Sprintf("oauthclient: the MCP server rejects the headers of the connection (HTTP status %d)", e.StatusCode)
}

// HeadersError says that [Config.Headers] gave no headers that can be sent.
type HeadersError struct {
	// Err is what the function returned, or what is wrong with a header. It does
	// not contain a value.
	Err error
}

func (e *HeadersError) Error() string {
	return "oauthclient: getting the headers of a request: " + e.Err.Error()
}

func (e *HeadersError) Unwrap() error { return e.Err }

// ErrNoToken is returned where a token is asked for and the headers of the
// connection authenticate in its place.
var ErrNoToken = errors.New("oauthclient: the connection has no token: its headers authenticate")

// reservedHeaders are those of HTTP and MCP themselves, in canonical form.
var reservedHeaders = []string{
	"Accept", "Accept-Encoding", "Connection", "Cookie", "Date", "Dpop", "Expect", "Host", "Keep-Alive", "Last-Event-Id", "Origin",
	"Set-Cookie", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

// reservedPrefixes begin the names of further such headers.
var reservedPrefixes = []string{"Content-", "Mcp-", "Proxy-", "Sec-"}

// CheckHeader returns why a header cannot be sent to an MCP server: its name is
// one of HTTP, MCP or the authorization itself, or name or value are malformed.
// The error contains neither.
func CheckHeader(name, value string) error {
	canonical := http.CanonicalHeaderKey(name)
	reserved := func(prefix string) bool { return strings.HasPrefix(canonical, prefix) }
	switch {
	case !httpguts.ValidHeaderFieldName(name):
		return errors.New("is no name of a header")
	case slices.Contains(reservedHeaders, canonical), slices.ContainsFunc(reservedPrefixes, reserved):
		return errors.New("has the name of a header that the protocol sets")
	case value == "":
		return errors.New("is empty")
	case !httpguts.ValidHeaderFieldValue(value) || strings.TrimSpace(value) != value:
		return errors.New("has a line break, a control character, or a space at its ends")
	}
	return nil
}

// headerAuthorization is the header that a token would be in.
const headerAuthorization = "Authorization"

// addHeaders adds the headers of the connection to a request to the MCP server,
// and returns their values.
func (p *OAuthProvider) addHeaders(req *http.Request) (values []string, err error) {
	if p.cfg.Headers == nil || !p.toServer(req.URL) {
		return nil, nil
	}
	headers, err := p.cfg.Headers(req.Context())
	if err != nil {
		return nil, &HeadersError{Err: err}
	}
	for name, given := range headers {
		canonical := http.CanonicalHeaderKey(name)
		if canonical == headerAuthorization && !p.cfg.HeadersAuthenticate {
			return nil, &HeadersError{Err: errors.New("the header Authorization needs HeadersAuthenticate")}
		}
		if len(given) == 0 {
			continue // no values take no header of the protocol away
		}
		for _, value := range given {
			if err := CheckHeader(name, value); err != nil {
				return nil, &HeadersError{Err: fmt.Errorf("a header %w", err)}
			}
		}
		req.Header[canonical] = slices.Clone(given)
		values = append(values, given...)
	}
	return values, nil
}

// toServer reports whether a URL is at the MCP server's origin.
func (p *OAuthProvider) toServer(u *url.URL) bool {
	server, err := url.Parse(p.cfg.ServerURL)
	return err == nil && u.Scheme == server.Scheme && strings.EqualFold(u.Host, server.Host)
}

// noGrant stands for the headers that authenticate a connection.
type noGrant struct{}

func (noGrant) obtain(context.Context, *OAuthProvider, challenge) error { return ErrNoToken }

func (noGrant) renewable(Credentials) bool { return false }

func (noGrant) needsUser() bool { return false }

func (noGrant) renew(context.Context, *OAuthProvider, *Credentials) (*tokenResponse, error) {
	return nil, ErrNoToken
}

// grant returns how the connection gets tokens.
func (c *config) grant() grant {
	if c.HeadersAuthenticate {
		return noGrant{}
	}
	return c.grantFor(c.ServerURL)
}

// withoutTokens returns credentials for requests that headers authenticate.
func (c Credentials) withoutTokens() Credentials { return Credentials{Connection: c.Connection} }

// minRedacted is the length from which a header's value counts as secret: shorter
// ones, such as the ID of a tenant, occur in texts by themselves.
const minRedacted = 8

// secretParts returns what is secret of header values: with "Bearer key" also the
// key alone.
func secretParts(values []string) (parts []string) {
	for _, value := range values {
		for _, part := range append([]string{value}, strings.Fields(value)...) {
			if len(part) >= minRedacted {
				parts = append(parts, part)
			}
		}
	}
	return parts
}

// redact takes secrets out of a text.
func redact(text string, secrets []string) string {
	for _, secret := range secrets {
		text = strings.ReplaceAll(text, secret, redacted)
	}
	return text
}

// redactRPC takes secrets out of what a server says of a failure, because errors
// are logged and shown.
func redactRPC(rpc *jsonrpc.Error, secrets []string) *jsonrpc.Error {
	data := rpc.Data
	for _, secret := range secrets {
		data = bytes.ReplaceAll(data, []byte(secret), []byte(redacted))
	}
	return &jsonrpc.Error{Code: rpc.Code, Message: redact(rpc.Message, secrets), Data: data}
}

// redactChallenge takes the headers that were sent out of the challenge in an
// answer.
func redactChallenge(header http.Header, sent []string) {
	if len(sent) == 0 {
		return
	}
	challenges := header["Www-Authenticate"]
	for i, challenge := range challenges {
		challenges[i] = redact(challenge, secretParts(sent))
	}
}
