// Chi is a host on the chi router, with a login of its own in front of the
// library's routes.
//
//	go run -C examples/chi .
//
// It is a module of its own, so that the library does not depend on chi. Other
// routers are mounted the same way, with whatever they have for an http.Handler
// and a path that ends in anything; docs/howto.md has gin and echo.
//
// Three things are worth copying: the whole path reaches the handler (no
// StripPrefix), Identify reads what the login middleware has found out, and the
// login's cookie is SameSite=Lax, so that it comes along when an authorization
// server sends the browser back to the callback.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/http"
	"sync"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
	"github.com/mcpoauth/mcpoauth/store/memstore"
)

// logins stands for the login that a host has already.
type logins struct {
	mu    sync.Mutex
	users map[string]string // by the cookie's value
}

// begin signs a user in. A real one would ask for a password.
func (l *logins) begin(w http.ResponseWriter, r *http.Request) {
	user := r.PostFormValue("user")
	if user == "" {
		http.Error(w, "user is required", http.StatusBadRequest)
		return
	}
	value := rand.Text()
	l.mu.Lock()
	l.users[value] = user
	l.mu.Unlock()
	http.SetCookie(w, &http.Cookie{Name: "login", Value: value, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode})
	w.WriteHeader(http.StatusNoContent)
}

type userKey struct{}

// middleware puts the signed-in user into the request's context. It lets
// others through: what needs a user says so itself, and the library does.
func (l *logins) middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if cookie, err := r.Cookie("login"); err == nil {
			l.mu.Lock()
			user := l.users[cookie.Value]
			l.mu.Unlock()
			r = r.WithContext(context.WithValue(r.Context(), userKey{}, user))
		}
		next.ServeHTTP(w, r)
	})
}

// signedIn is Config.Identify.
func signedIn(r *http.Request) (owner string, err error) {
	user, _ := r.Context().Value(userKey{}).(string)
	if user == "" {
		return "", errors.New("the user is not signed in")
	}
	return user, nil
}

// newRouter is the host, at publicURL.
func newRouter(manager *session.Manager, publicURL string) (http.Handler, error) {
	api, err := httpapi.New(manager, httpapi.Config{PublicURL: publicURL, Identify: signedIn})
	if err != nil {
		return nil, err
	}
	login := &logins{users: make(map[string]string)}
	r := chi.NewRouter()
	// No middleware.Timeout and no middleware.Logger around the library's
	// routes: tool calls may be long, and two routes have a session ID in their
	// query.
	r.Use(middleware.Recoverer)
	r.Post("/login", login.begin)
	r.With(login.middleware).Handle("/api/mcp/*", api)
	return r, nil
}

func main() {
	addr := flag.String("addr", "127.0.0.1:3000", "where to listen")
	loopback := flag.Bool("allow-loopback", false, "for development: MCP servers on this machine, and http")
	flag.Parse()

	cfg := session.Config{Store: memstore.New(memstore.Config{})}
	cfg.Client.Transport = oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowLoopback: *loopback})
	manager, err := session.New(cfg)
	if err != nil {
		log.Fatal(err)
	}
	router, err := newRouter(manager, "http://"+*addr)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("http://" + *addr + "/api/mcp/")
	server := &http.Server{Addr: *addr, Handler: router, ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(server.ListenAndServe())
}
