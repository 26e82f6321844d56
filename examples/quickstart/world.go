package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
	"github.com/mcpoauth/mcpoauth/store/memstore"
)

// world is all the parties, each on a loopback port of its own.
type world struct {
	wire    *wire
	auth    *authtest.Server
	mcp     *mcptest.Server
	hostURL string
	api     string // the host's endpoints, up to auth/connect and its siblings
	browser *http.Client

	closers []func()
}

// newWorld starts the servers, and gives the browser a cookie jar.
func newWorld() (_ *world, err error) {
	w := &world{wire: &wire{parties: make(map[string]string)}}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	if err := w.startServers(); err != nil {
		return nil, err
	}
	if err := w.startHost(); err != nil {
		return nil, err
	}
	transport := &http.Transport{}
	w.closers = append(w.closers, transport.CloseIdleConnections)
	w.browser, err = newBrowser(w.wire.tap(browser, transport))
	return w, err
}

// startServers starts what other companies run in real life.
func (w *world) startServers() (err error) {
	w.auth, err = authtest.Start(authtest.Options{
		Consent:         true,
		ScopesSupported: []string{"tools", "admin", "offline_access"},
	})
	if err != nil {
		return err
	}
	w.closers = append(w.closers, w.auth.Close)
	w.mcp, err = mcptest.Start(mcptest.Options{
		Auth:           w.auth,
		Stateful:       true, // so that there is an MCP session to end
		RequiredScopes: []string{"tools"},
		Challenge:      mcptest.Challenge{Scope: "tools"},
	})
	if err != nil {
		return err
	}
	w.closers = append(w.closers, w.mcp.Close)
	w.wire.name(authServer, strings.TrimPrefix(w.auth.URL(), "http://"))
	w.wire.name(mcpServer, strings.TrimPrefix(w.mcp.Origin(), "http://"))
	return nil
}

// startHost starts a web application that has mounted the library.
func (w *world) startHost() error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("start the host: %w", err)
	}
	w.hostURL = "http://" + listener.Addr().String()
	w.wire.name(host, listener.Addr().String())

	outgoing := oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowLoopback: true})
	cfg := session.Config{Store: memstore.New(memstore.Config{})}
	cfg.Client.Transport = w.wire.tap(host, outgoing)
	cfg.Client.ClientMetadata.ClientName = "Quickstart"
	manager, err := session.New(cfg)
	if err != nil {
		_ = listener.Close()
		return err
	}
	handler, err := httpapi.New(manager, httpapi.Config{PublicURL: w.hostURL})
	if err != nil {
		_ = listener.Close()
		_ = manager.Close()
		return err
	}
	w.api = w.hostURL + "/api/mcp"

	mux := http.NewServeMux()
	mux.Handle("/api/mcp/", handler)
	mux.HandleFunc("GET /{$}", servePage(w.mcp.URL()))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(listener) }() // always ends with http.ErrServerClosed
	w.closers = append(w.closers, func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if errors.Is(server.Shutdown(ctx), context.DeadlineExceeded) {
			_ = server.Close()
		}
		_ = manager.Close() // after the last request
		(&http.Client{Transport: outgoing}).CloseIdleConnections()
	})
	return nil
}

// introduce prints the address of every party.
func (w *world) introduce(out *narrator) {
	out.fact(host, w.hostURL+"   httpapi on session.Manager on memstore")
	out.fact(mcpServer, w.mcp.URL())
	out.fact(authServer, w.auth.URL())
}

// close stops everything, in the opposite order of starting.
func (w *world) close() {
	for i := len(w.closers) - 1; i >= 0; i-- {
		w.closers[i]()
	}
}
