package main

import (
	"context"
	"crypto/rand"
	"embed"
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"time"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
	"github.com/mcpoauth/mcpoauth/store/memstore"
)

// page has what the browser gets: index.html, and the scripts and the style
// that it loads.
//
//go:embed page
var page embed.FS

// userCookie stands for the host's own login. It is Lax, not Strict, because
// the callback arrives from the authorization server's site and has to be known
// as this user's.
const userCookie = "demo_user"

// pagePolicy lets the page load what this host serves, and show the pictures
// and sounds that tools return. Nothing that a tool returns can run.
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; " +
	"img-src 'self' data:; media-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// host is the web application: the page, and the library's endpoints for it.
type host struct {
	manager *session.Manager
	server  *http.Server
}

// newHost mounts everything.
func newHost(publicURL string, presets []preset) (*host, error) {
	cfg := session.Config{Store: memstore.New(memstore.Config{})}
	cfg.Client.ClientMetadata.ClientName = "Web example"
	cfg.Client.AskUsers = oauthclient.ElicitationModes{Form: true, URL: true} // the page shows both
	// The demo servers are on loopback, which is not reachable otherwise.
	cfg.Client.Transport = oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowLoopback: true})
	manager, err := session.New(cfg)
	if err != nil {
		return nil, err
	}
	api, err := httpapi.New(manager, httpapi.Config{PublicURL: publicURL, Identify: identify})
	if err != nil {
		_ = manager.Close()
		return nil, err
	}
	files, err := fs.Sub(page, "page")
	if err != nil {
		_ = manager.Close()
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/api/mcp/", api)
	mux.HandleFunc("GET /presets.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(presets)
	})
	mux.Handle("/", signIn(servePage(files)))
	return &host{manager: manager, server: &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
	}}, nil
}

// identify says whose request it is. In a host with users this is a look into
// its login session.
func identify(r *http.Request) (owner string, err error) {
	cookie, err := r.Cookie(userCookie)
	if err != nil {
		return "", err
	}
	return cookie.Value, nil
}

// signIn makes every browser a user of its own.
func signIn(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := identify(r); err != nil {
			http.SetCookie(w, &http.Cookie{Name: userCookie, Value: rand.Text(), Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode})
		}
		next.ServeHTTP(w, r)
	})
}

func servePage(files fs.FS) http.Handler {
	serve := http.FileServerFS(files)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Security-Policy", pagePolicy)
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("Cache-Control", "no-cache")
		serve.ServeHTTP(w, r)
	})
}

// serve answers until ctx ends, and then ends what is still running.
func (h *host) serve(ctx context.Context, listener net.Listener) error {
	failed := make(chan error, 1)
	go func() { failed <- h.server.Serve(listener) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	h.close() // first the calls, so that there is nothing to wait for
	bound, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if errors.Is(h.server.Shutdown(bound), context.DeadlineExceeded) {
		_ = h.server.Close()
	}
	return nil
}

// close may be called more than once.
func (h *host) close() { _ = h.manager.Close() }
