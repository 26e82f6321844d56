package oauthclient_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/oauthclient"
)

func TestSecretIsNeverRendered(t *testing.T) {
	t.Parallel()
	s := oauthclient.NewSecret("canary")
	nested := struct {
		Public  oauthclient.Secret
		private oauthclient.Secret
		pointer *oauthclient.Secret
		list    []oauthclient.Secret
		creds   oauthclient.Credentials
	}{s, s, &s, []oauthclient.Secret{s}, oauthclient.Credentials{AccessToken: s}}
	var out bytes.Buffer
	for _, v := range []any{s, &s, []oauthclient.Secret{s}, map[string]oauthclient.Secret{"k": s}, nested, &nested} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%10.3s"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "v", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "v", v)
	}
	data, err := json.Marshal(map[string]any{"s": s, "p": &s})
	require.NoError(t, err)
	out.Write(data)
	data, err = xml.Marshal(s)
	require.NoError(t, err)
	out.Write(data)
	require.NotContains(t, out.String(), "canary")
	require.NotContains(t, out.String(), "63616e617279", "hexadecimal")
	require.Contains(t, out.String(), "[redacted]")
}

// A host's configuration may be JSON. What was redacted cannot be read again.
func TestSecret_UnmarshalText(t *testing.T) {
	t.Parallel()
	var cfg struct {
		Client oauthclient.PreregisteredClient
		Absent oauthclient.Secret
	}
	require.NoError(t, json.Unmarshal([]byte(`{"Client":{"Issuer":"https://as.example","ClientID":"id","ClientSecret":"value"}}`), &cfg))
	require.Equal(t, "value", cfg.Client.ClientSecret.Reveal())
	require.True(t, cfg.Absent.IsZero())
	require.NoError(t, json.Unmarshal([]byte(`{"Client":{"ClientSecret":""}}`), &cfg))
	require.True(t, cfg.Client.ClientSecret.IsZero())

	written, err := json.Marshal(oauthclient.NewSecret("value"))
	require.NoError(t, err)
	var s oauthclient.Secret
	require.ErrorContains(t, json.Unmarshal(written, &s), "redacted")
	require.True(t, s.IsZero())
}

func TestSecret(t *testing.T) {
	t.Parallel()
	var zero oauthclient.Secret
	require.True(t, zero.IsZero())
	require.True(t, oauthclient.NewSecret("").IsZero())
	require.Empty(t, zero.Reveal())
	require.Empty(t, zero.String(), "an empty secret is visibly empty")
	s := oauthclient.NewSecret("value")
	require.Equal(t, "value", s.Reveal())
	require.False(t, s.IsZero())
	require.True(t, s.Equal(oauthclient.NewSecret("value")))
	require.False(t, s.Equal(oauthclient.NewSecret("valuf")))
	require.False(t, s.Equal(zero))
	require.True(t, zero.Equal(oauthclient.NewSecret("")))
}
