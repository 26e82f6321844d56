package session_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
	"github.com/mcpoauth/mcpoauth/store/memstore"
)

func TestConfigMistakes(t *testing.T) {
	t.Parallel()
	durable, memory := newSpy(memstore.New(memstore.Config{})), memstore.New(memstore.Config{})
	for name, row := range map[string]struct {
		cfg  session.Config
		want []string
	}{
		"nothing":                   {session.Config{}, []string{"Config.Store: is required"}},
		"durable store without key": {session.Config{Store: durable}, []string{"Config.SealKeys", "openssl rand -base64 32"}},
		"short key":                 {session.Config{Store: durable, SealKeys: [][]byte{sealKey, key(1)[:16]}}, []string{"Config.SealKeys[1]: is 16 bytes long, want 32"}},
		"key and plaintext":         {session.Config{Store: durable, SealKeys: [][]byte{sealKey}, InsecurePlaintext: true}, []string{"Config.InsecurePlaintext: contradicts SealKeys"}},
		"lease shorter than the work": {
			session.Config{Store: memory, LockTTL: 30 * time.Second}, []string{"Config.LockTTL: must exceed twice Client.RequestTimeout (15s)"},
		},
		"a mistake in the template": {session.Config{Store: memory, Client: oauthclient.Shared{ClientMetadataURL: "http://app.example"}}, []string{"Config.Client: ", "ClientMetadataURL"}},
		"all at once": {
			session.Config{
				SealKeys: [][]byte{{1}}, TTL: -1, TouchInterval: -1, LockTTL: -1, CacheSize: -1, MaxSessionsPerOwner: -1,
				Client: oauthclient.Shared{RequestTimeout: -1, AttemptTTL: -1},
			},
			[]string{"Config.Store", "SealKeys[0]", "Config.TTL", "AttemptTTL", "TouchInterval", "LockTTL", "CacheSize", "MaxSessionsPerOwner", "RequestTimeout"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, err := session.New(row.cfg)
			require.Nil(t, m)
			for _, want := range row.want {
				require.ErrorContains(t, err, want)
			}
		})
	}
}

func TestConfigAccepted(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]session.Config{
		"memory":             {Store: memstore.New(memstore.Config{})},
		"durable, sealed":    {Store: newSpy(memstore.New(memstore.Config{})), SealKeys: [][]byte{sealKey, key(1)}},
		"durable, plaintext": {Store: newSpy(memstore.New(memstore.Config{})), InsecurePlaintext: true},
		"slow servers":       {Store: memstore.New(memstore.Config{}), Client: oauthclient.Shared{RequestTimeout: time.Minute}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, err := session.New(cfg)
			require.NoError(t, err)
			require.NoError(t, m.Close())
		})
	}
}

// A Config is a value: what the host does to its slices later changes nothing.
func TestConfigIsCopied(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{
		NoRegistration: true, Clients: []authtest.Client{{ID: "app", RedirectURIs: []string{callbackURL}}},
	}, mcptest.Options{})
	keys := [][]byte{bytes.Clone(sealKey)}
	clients := []oauthclient.PreregisteredClient{{Issuer: w.as.Issuer(), ClientID: "app"}}
	contacts := []string{"ops@app.example"}
	m := w.manager(t, func(c *session.Config) {
		c.SealKeys, c.Client.PreregisteredClients, c.Client.ClientMetadata.Contacts = keys, clients, contacts
	})
	clear(keys[0])
	clients[0], contacts[0] = oauthclient.PreregisteredClient{}, "mallory"

	id := w.connected(t, m)
	requireWorks(t, w.manager(t), alice, id)
	_, metadata := m.ClientMetadata()
	require.Equal(t, []string{"ops@app.example"}, metadata.Contacts)
	metadata.Contacts[0] = "mallory"
	_, metadata = m.ClientMetadata()
	require.Equal(t, []string{"ops@app.example"}, metadata.Contacts)
}

// A host may log its configuration and what the package returns.
func TestFormat_ValuesShowNoSecret(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	cfg := session.Config{
		Store: memstore.New(memstore.Config{}), SealKeys: [][]byte{sealKey},
		Client: oauthclient.Shared{PreregisteredClients: []oauthclient.PreregisteredClient{{Issuer: "https://as.example", ClientID: "app", ClientSecret: oauthclient.NewSecret("client-secret")}}},
	}
	m, err := session.New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	info, required := w.connect(t, w.manager(t), alice)
	info.ServerURL += "?key=api-key"
	secrets := []string{
		string(sealKey), base64.StdEncoding.EncodeToString(sealKey), fmt.Sprint(sealKey), "client-secret",
		info.ID.Reveal(), info.ID.Reveal()[26:], alice.Binding, "api-key", required.AuthURL,
	}
	for name, value := range map[string]any{
		"Config": cfg, "*Config": &cfg, "Manager": m, "Info": info, "*Info": &info, "Infos": []session.Info{info}, "Caller": alice, "required": required,
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			requireNone(t, secrets, fmt.Sprintf(verb, value), name+" as "+verb)
		}
	}
	var log bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
		slog.New(h).Info("x", "info", info, "caller", alice, "manager", m)
	}
	requireNone(t, secrets, log.String(), "slog")
	encoded, err := json.Marshal(info)
	require.NoError(t, err)
	require.NotContains(t, string(encoded), info.ID.Reveal())
}

func requireNone(t *testing.T, secrets []string, text, what string) {
	t.Helper()
	for _, secret := range secrets {
		require.NotContains(t, text, secret, what)
	}
}
