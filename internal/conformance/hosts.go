package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"strings"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/memstore"
)

// clientMetadataURL is the client_id that the suite expects where the server
// supports Client ID Metadata Documents.
const clientMetadataURL = "https://conformance-test.local/client-metadata.json"

// maxAuthorizations is how often the user of this program is willing to
// authorize within one scenario.
const maxAuthorizations = 4

// runHosts plays a front end and a browser against two replicas of a host that
// share one store: connect through the first, callback through the second,
// list through the first, call through the second.
func runHosts(ctx context.Context, serverURL string, s settings) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	publicURL := "http://" + listener.Addr().String()
	shared, sealKey := memstore.New(memstore.Config{}), make([]byte, 32)
	_, _ = rand.Read(sealKey) // never fails
	first, closeFirst, err := newReplica(listener, publicURL, serverURL, shared, sealKey, s)
	if err != nil {
		return err
	}
	defer closeFirst()
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	second, closeSecond, err := newReplica(other, publicURL, serverURL, shared, sealKey, s)
	if err != nil {
		return err
	}
	defer closeSecond()

	jar, err := cookiejar.New(nil)
	if err != nil {
		return err
	}
	f := &frontEnd{first: first, second: second, client: &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	return f.journey(ctx, serverURL)
}

// newReplica serves the library's handler on listener; it returns its address.
func newReplica(listener net.Listener, publicURL, serverURL string, shared store.SessionStore, sealKey []byte, s settings) (base string, shutdown func(), err error) {
	cfg := session.Config{Store: shared, SealKeys: [][]byte{sealKey}, Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	cfg.Client.Transport = oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowLoopback: true})
	cfg.Client.ClientMetadataURL = clientMetadataURL
	if os.Getenv("MCP_CONFORMANCE_SCENARIO") == "auth/2025-03-26-oauth-endpoint-fallback" {
		// What a host has to say of a server that has no metadata at all.
		cfg.Client.PolicyFor = func(string) oauthclient.ServerPolicy { return oauthclient.ServerPolicy{AllowUnadvertisedPKCE: true} }
	}
	if s.ClientID != "" {
		cfg.Client.PreregisteredClients = []oauthclient.PreregisteredClient{{
			ServerURL: serverURL, ClientID: s.ClientID, ClientSecret: oauthclient.NewSecret(s.ClientSecret),
		}}
	}
	if err := s.chooseGrant(&cfg.Client); err != nil {
		return "", nil, err
	}
	manager, err := session.New(cfg)
	if err != nil {
		return "", nil, err
	}
	handler, err := httpapi.New(manager, httpapi.Config{
		PublicURL: publicURL, Logger: cfg.Logger,
		// The suite is one client at one address, and in a hurry.
		ConnectsPerMinute: -1, CallbacksPerMinute: -1, RequestsPerMinute: -1,
	})
	if err != nil {
		return "", nil, err
	}
	server := &http.Server{Handler: handler}
	go func() { _ = server.Serve(listener) }()
	return "http://" + listener.Addr().String(), func() {
		_ = server.Close()
		_ = manager.Close()
	}, nil
}

// frontEnd is the web page and the browser of one user.
type frontEnd struct {
	first, second string // base URLs of the replicas
	client        *http.Client
	authorized    int
}

// answer holds every field that the routes answer with.
type answer struct {
	Success      bool   `json:"success"`
	RequiresAuth bool   `json:"requiresAuth"`
	AuthURL      string `json:"authUrl"`
	SessionID    string `json:"sessionId"`
	Error        string `json:"error"`
	Tools        []struct {
		Name string `json:"name"`
	} `json:"tools"`
}

func (f *frontEnd) journey(ctx context.Context, serverURL string) error {
	connected, err := f.do(ctx, http.MethodPost, f.first+"/api/mcp/auth/connect", map[string]any{"serverUrl": serverURL})
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	id := connected.SessionID
	listed, err := f.do(ctx, http.MethodGet, f.first+"/api/mcp/tool/list?sessionId="+url.QueryEscape(id), nil)
	if err != nil {
		return fmt.Errorf("list: %w", err)
	}
	for _, tool := range listed.Tools {
		if _, err := f.do(ctx, http.MethodPost, f.second+"/api/mcp/tool/call", map[string]any{"sessionId": id, "toolName": tool.Name, "toolArgs": map[string]any{}}); err != nil {
			return fmt.Errorf("call: %w", err)
		}
	}
	_, err = f.do(ctx, http.MethodPost, f.second+"/api/mcp/auth/disconnect", map[string]any{"sessionId": id})
	return err
}

// do sends a request, authorizes as often as the answer asks for it, and sends
// the request again, as a front end does; connect is not repeated, because
// authorizing has completed it.
func (f *frontEnd) do(ctx context.Context, method, target string, body any) (*answer, error) {
	for {
		a, err := f.send(ctx, method, target, body)
		if err != nil || !a.RequiresAuth {
			return a, err
		}
		if f.authorized++; f.authorized > maxAuthorizations {
			return nil, errors.New("asked to authorize again and again")
		}
		if err := f.authorize(ctx, a.AuthURL); err != nil {
			return nil, err
		}
		if m, _ := body.(map[string]any); m["serverUrl"] != nil {
			return a, nil
		}
	}
}

func (f *frontEnd) send(ctx context.Context, method, target string, body any) (*answer, error) {
	encoded, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(encoded))
	if err != nil {
		return nil, err
	}
	req.Host = strings.TrimPrefix(f.first, "http://") // of both replicas' PublicURL
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	resp, err := f.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	a := new(answer)
	if err := json.Unmarshal(data, a); err != nil {
		return nil, fmt.Errorf("HTTP status %d: %w", resp.StatusCode, err)
	}
	if resp.StatusCode != http.StatusOK && !a.RequiresAuth {
		return nil, fmt.Errorf("HTTP status %d: %s", resp.StatusCode, a.Error)
	}
	return a, nil
}

// authorize visits the authorization URL and brings what it redirects to, to
// the second replica.
func (f *frontEnd) authorize(ctx context.Context, authURL string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, authURL, nil)
	if err != nil {
		return err
	}
	resp, err := f.client.Do(req)
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	callback, err := resp.Location()
	if err != nil {
		return fmt.Errorf("the authorization server answered HTTP status %d without a redirect", resp.StatusCode)
	}
	_, err = f.send(ctx, http.MethodGet, f.second+callback.RequestURI(), nil)
	if err != nil {
		return fmt.Errorf("callback: %w", err)
	}
	return nil
}
