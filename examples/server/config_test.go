package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// configFile writes a file and returns its path.
func configFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.json")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestConfigFile(t *testing.T) {
	t.Parallel()
	var shared oauthclient.Shared
	require.NoError(t, loadConfig(configFile(t, `{
		"clientName": "Example Chat",
		"clientMetadataUrl": "https://app.example.com/api/mcp/client-metadata.json",
		"clients": [{"issuer": "https://login.example.com", "clientId": "my-app", "clientSecret": "hush", "tokenEndpointAuthMethod": "client_secret_post"}],
		"servers": [
			{"url": "HTTPS://mcp.Example.com:443/", "skipResourceParameter": true},
			{"url": "https://mcp.example.com/files", "scopes": ["read"], "allowUnadvertisedPKCE": true}
		]
	}`), &shared))
	require.Equal(t, "Example Chat", shared.ClientMetadata.ClientName)
	require.Equal(t, "https://app.example.com/api/mcp/client-metadata.json", shared.ClientMetadataURL)
	require.Equal(t, []oauthclient.PreregisteredClient{{
		Issuer: "https://login.example.com", ClientID: "my-app", ClientSecret: oauthclient.NewSecret("hush"), TokenEndpointAuthMethod: "client_secret_post",
	}}, shared.PreregisteredClients)
	require.Equal(t, oauthclient.ServerPolicy{SkipResourceParameter: true}, shared.PolicyFor("https://mcp.example.com/mcp"))
	require.Equal(t, oauthclient.ServerPolicy{Scopes: []string{"read"}, AllowUnadvertisedPKCE: true}, shared.PolicyFor("https://mcp.example.com/files/mcp"))
	for _, other := range []string{"https://other.example.com", "https://mcp.example.com.other.example", "https://mcp.example.com:8443/mcp"} {
		require.Equal(t, oauthclient.ServerPolicy{}, shared.PolicyFor(other), other)
	}
	for _, below := range []string{"https://mcp.example.com", "https://mcp.example.com?key=x", "https://mcp.example.com/filesystem"} {
		require.True(t, shared.PolicyFor(below).SkipResourceParameter, below)
	}
	require.NotZero(t, shared.PolicyFor("https://mcp.slack.com/mcp").TokenMember, "a known server")
	_, err := shared.Prepare()
	require.NoError(t, err)
}

func TestNoConfigFile(t *testing.T) {
	t.Parallel()
	var shared oauthclient.Shared
	require.NoError(t, loadConfig("", &shared))
	require.Equal(t, oauthclient.ServerPolicy{}, shared.PolicyFor("https://mcp.example.com/mcp"))
	require.NotZero(t, shared.PolicyFor("https://mcp.slack.com/mcp").TokenMember)
}

func TestConfigFileMistakes(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct{ text, want string }{
		"unknown member":        {`{"clientz": []}`, "clientz"},
		"unknown policy switch": {`{"servers": [{"url": "https://a.example", "skipEverything": true}]}`, "skipEverything"},
		"wrong type":            {`{"clients": [{"clientId": 7}]}`, "clientId"},
		"no URL":                {`{"servers": [{"url": "mcp.example.com"}]}`, "servers[0].url"},
		"two values":            {`{} {}`, "more than one"},
		"no JSON":               {`clients:`, "invalid character"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := configFile(t, row.text)
			err := loadConfig(path, new(oauthclient.Shared))
			require.ErrorContains(t, err, row.want)
			require.ErrorContains(t, err, path)
		})
	}
	require.Error(t, loadConfig(filepath.Join(t.TempDir(), "missing"), new(oauthclient.Shared)))
}

func TestLogLevel(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]slog.Level{"": slog.LevelInfo, "debug": slog.LevelDebug, "WARN": slog.LevelWarn} {
		level, err := logLevel(value)
		require.NoError(t, err)
		require.Equal(t, want, level)
	}
	_, err := logLevel("loud")
	require.ErrorContains(t, err, "LOG_LEVEL")
}
