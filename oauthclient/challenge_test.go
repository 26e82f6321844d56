package oauthclient_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
)

// The metadata is only where the challenge says, so a challenge that is not
// understood shows as the 2025-03-26 fallback, which fails here.
func TestChallenge(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name   string
		header string // %URL% is the metadata URL
		found  bool
		scope  string
	}{
		{"quoted", `Bearer resource_metadata="%URL%"`, true, ""},
		{"with scope and error", `Bearer error="invalid_token", scope="read write", resource_metadata="%URL%"`, true, "read write"},
		{"scheme in other case", `bearer resource_metadata="%URL%"`, true, ""},
		{"after another scheme", `Basic realm="x", Bearer resource_metadata="%URL%"`, true, ""},
		{"before another scheme", `Bearer resource_metadata="%URL%", Basic realm="x"`, true, ""},
		{"commas and escapes in a quoted value", `Bearer realm="a, \"b\"", resource_metadata="%URL%"`, true, ""},
		{"DPoP (RFC 9449 section 7.1)", `DPoP algs="ES256", resource_metadata="%URL%"`, true, ""},
		{"scope without a value", `Bearer scope="", resource_metadata="%URL%"`, true, ""},
		{"empty values of other parameters", `Bearer realm="", error_description="", resource_metadata="%URL%"`, true, ""},
		{"no commas", `Bearer error="invalid_token" scope="read" resource_metadata="%URL%"`, true, "read"},
		{"tokens and spaces around =", `Bearer scope = read , Resource_Metadata = "%URL%"`, true, "read"},
		{"after a token68", `Negotiate YII+/abc==, Bearer resource_metadata="%URL%"`, true, ""},
		{"twice, the first counts", `Bearer scope="read", resource_metadata="%URL%", Bearer scope="write", resource_metadata="http://127.0.0.1:1/"`, true, "read"},
		{"scopes with commas", `Bearer scope="read,write", resource_metadata="%URL%"`, true, "read write"},
		{"tabs and empty elements", "Bearer\tscope\t=\tread ,\t, ,resource_metadata=\"%URL%\"", true, "read"},
		{"a challenge behind garbage", `"oops" ="x", Bearer resource_metadata="%URL%"`, true, ""},
		{"a parameter behind garbage", `Bearer "x", scope=read, resource_metadata="%URL%"`, true, "read"},
		{"challenges without a comma between them", `Basic realm="x" Bearer scope=read resource_metadata="%URL%"`, true, "read"},
		{"token68 with padding and spaces", `Negotiate YII= , Bearer resource_metadata="%URL%"`, true, ""},
		{"unquoted URL", `Bearer resource_metadata=%URL%, scope=read`, true, "read"},
		{"quoted pairs", `Bearer scope="r\ea\d", resource_metadata="%URL%"`, true, "read"},
		{"only of another scheme", `Basic resource_metadata="%URL%"`, false, ""},
		{"bare scheme", `Bearer`, false, ""},
		{"unterminated quote", `Bearer resource_metadata="%URL%`, false, ""},
		{"garbage", `=,="`, false, ""},
		{"empty", ``, false, ""},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{
				Metadata: mcptest.Metadata{Locations: []mcptest.MetadataLocation{mcptest.MetadataAtCustom}, CustomPath: "/meta"},
			})
			w.challenge(row.header)
			err := w.client().Connect(t.Context())
			require.Equal(t, row.found, w.requested(w.mcp, "/meta"))
			if !row.found {
				// The fallback finds no registration endpoint on the MCP server.
				require.Error(t, err)
				return
			}
			require.Equal(t, row.scope, query(t, requireAuthorization(t, err)).Get("scope"))
		})
	}
}

func TestChallengeInTwoHeaders(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{
		Metadata: mcptest.Metadata{Locations: []mcptest.MetadataLocation{mcptest.MetadataAtCustom}, CustomPath: "/meta"},
	})
	w.mcp.SetOutage(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Add("WWW-Authenticate", `Negotiate "broken`)
		rw.Header().Add("WWW-Authenticate", `Basic realm="x"`)
		rw.Header().Add("WWW-Authenticate", `Bearer scope="read"`)
		rw.Header().Add("WWW-Authenticate", `Bearer resource_metadata="`+w.mcp.Origin()+`/meta", scope="other"`)
		rw.WriteHeader(http.StatusUnauthorized)
	})
	required := w.begin(w.client())
	require.Equal(t, "read", query(t, required).Get("scope"))
	require.True(t, w.requested(w.mcp, "/meta"))
}

// A 401 without any challenge still leads to the well-known locations.
func TestNoChallenge(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{Challenge: mcptest.Challenge{Omit: true}})
	c := w.client()
	w.finish(c, w.begin(c))
	require.NoError(t, w.call(c))
}
