package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// fileConfig is the file that MCPOAUTH_CONFIG names:
//
//	{
//	  "clientName": "Example Chat",
//	  "clientMetadataUrl": "https://app.example.com/api/mcp/client-metadata.json",
//	  "clients": [
//	    {"issuer": "https://login.example.com", "clientId": "my-app", "clientSecret": "…"}
//	  ],
//	  "servers": [
//	    {"url": "https://mcp.example.com/", "skipResourceParameter": true, "scopes": ["read"]}
//	  ]
//	}
//
// A client has the fields of [oauthclient.PreregisteredClient], a server those
// of [oauthclient.ServerPolicy] beside its url. A policy holds for that URL and
// all below it; of several, the longest url counts. Servers that the file does
// not name have the policies of [oauthclient.KnownServers].
type fileConfig struct {
	ClientName        string        `json:"clientName"`
	ClientMetadataURL string        `json:"clientMetadataUrl"`
	Clients           []fileClient  `json:"clients"`
	Servers           []fileServers `json:"servers"`
}

type fileClient struct {
	Issuer                  string `json:"issuer"`
	ServerURL               string `json:"serverUrl"`
	ClientID                string `json:"clientId"`
	ClientSecret            string `json:"clientSecret"`
	TokenEndpointAuthMethod string `json:"tokenEndpointAuthMethod"`
}

type fileServers struct {
	URL string `json:"url"`
	oauthclient.ServerPolicy
}

// loadConfig puts the file at path into shared. Its errors name the file and the
// member that is wrong, and show no value, which may be a secret.
func loadConfig(path string, shared *oauthclient.Shared) error {
	shared.PolicyFor = oauthclient.KnownServers
	if path == "" {
		return nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var file fileConfig
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&file); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: there is more than one JSON value", path)
	}
	shared.ClientMetadata.ClientName, shared.ClientMetadataURL = file.ClientName, file.ClientMetadataURL
	for _, client := range file.Clients {
		shared.PreregisteredClients = append(shared.PreregisteredClients, oauthclient.PreregisteredClient{
			Issuer: client.Issuer, ServerURL: client.ServerURL, ClientID: client.ClientID,
			ClientSecret: oauthclient.NewSecret(client.ClientSecret), TokenEndpointAuthMethod: client.TokenEndpointAuthMethod,
		})
	}
	for i, server := range file.Servers {
		normal, err := oauthclient.NormalizeServerURL(server.URL)
		if err != nil {
			return fmt.Errorf("%s: servers[%d].url %w", path, i, err)
		}
		file.Servers[i].URL = strings.TrimSuffix(normal, "/")
	}
	shared.PolicyFor = func(serverURL string) oauthclient.ServerPolicy {
		policy, longest := oauthclient.KnownServers(serverURL), -1
		for _, server := range file.Servers {
			if below(serverURL, server.URL) && len(server.URL) > longest {
				longest, policy = len(server.URL), server.ServerPolicy
			}
		}
		return policy
	}
	return nil
}

// below reports whether a server URL is url, or one with more path or a query.
func below(serverURL, url string) bool {
	rest, ok := strings.CutPrefix(serverURL, url)
	return ok && (rest == "" || rest[0] == '/' || rest[0] == '?')
}

// logLevel reads LOG_LEVEL.
func logLevel(value string) (slog.Level, error) {
	level := slog.LevelInfo
	if value != "" && level.UnmarshalText([]byte(value)) != nil {
		return 0, errors.New("LOG_LEVEL: must be debug, info, warn or error")
	}
	return level, nil
}
