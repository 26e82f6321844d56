package httpapitest

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
	"github.com/mcpoauth/mcpoauth/store/memstore"
)

// UserHeader is the header that names the signed-in user to a [Host].
const UserHeader = "X-Test-User"

// HostConfig configures a [Host].
type HostConfig struct {
	// Session configures the manager; see [NewManager] for its defaults.
	Session session.Config
	// HTTP configures the handler. PublicURL is set. Identify defaults to the
	// user that [UserHeader] names, and the rate limits to none.
	HTTP httpapi.Config
	// Wrap puts middleware around the handler. Defaults to none.
	Wrap func(http.Handler) http.Handler
}

// Host is a host that is served for a test.
type Host struct {
	// URL is where the host is, without a slash at the end.
	URL string
	// APIURL is the URL and the prefix of the handler's routes.
	APIURL string
	// Manager and Handler are the host's parts, until [Host.Restart].
	Manager *session.Manager
	Handler *httpapi.Handler

	t       testing.TB
	cfg     HostConfig
	serving atomic.Pointer[http.Handler]
}

// NewHost starts a host, which ends with the test.
func NewHost(t testing.TB, cfg HostConfig) *Host {
	t.Helper()
	if cfg.Session.Store == nil {
		cfg.Session.Store = memstore.New(memstore.Config{})
	}
	for _, limit := range []*int{&cfg.HTTP.ConnectsPerMinute, &cfg.HTTP.CallbacksPerMinute, &cfg.HTTP.RequestsPerMinute} {
		if *limit == 0 {
			*limit = -1
		}
	}
	if cfg.HTTP.Identify == nil {
		cfg.HTTP.Identify = byHeader
	}
	h := &Host{t: t, cfg: cfg}
	h.URL = Serve(t, func(publicURL string) (http.Handler, error) {
		h.cfg.HTTP.PublicURL = publicURL
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*h.serving.Load()).ServeHTTP(w, r) }), h.start()
	})
	const route = "/auth/callback"
	callback := h.Handler.CallbackURL()
	h.APIURL = callback[:len(callback)-len(route)]
	return h
}

// start makes the manager and the handler that serve from now on.
func (h *Host) start() (err error) {
	h.Manager = NewManager(h.t, h.cfg.Session)
	if h.Handler, err = httpapi.New(h.Manager, h.cfg.HTTP); err != nil {
		return err
	}
	var handler http.Handler = h.Handler
	if h.cfg.Wrap != nil {
		handler = h.cfg.Wrap(handler)
	}
	h.serving.Store(&handler)
	return nil
}

// Restart closes the manager, and goes on with another one and another handler, at
// the same URL and with the same store: what only a process remembers is lost. Call
// it when no request is in progress.
func (h *Host) Restart() {
	h.t.Helper()
	require.NoError(h.t, h.Manager.Close())
	require.NoError(h.t, h.start())
}

// User returns a user who is signed in at the host, with a new browser.
func (h *Host) User(name string) *User {
	return NewUser(h.t, h.APIURL, http.Header{UserHeader: {name}})
}

func byHeader(r *http.Request) (owner string, err error) {
	if owner = r.Header.Get(UserHeader); owner == "" {
		return "", errors.New("httpapitest: the request has no " + UserHeader)
	}
	return owner, nil
}

// NewManager makes a manager, which is closed with the test. Its store defaults
// to memory, and its transport to one that reaches loopback addresses.
func NewManager(t testing.TB, cfg session.Config) *session.Manager {
	t.Helper()
	if cfg.Store == nil {
		cfg.Store = memstore.New(memstore.Config{})
	}
	if cfg.Client.Transport == nil {
		cfg.Client.Transport = oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowLoopback: true})
	}
	manager, err := session.New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { _ = manager.Close() })
	return manager
}

// Serve serves the handler that newHandler returns, until the test ends.
// newHandler gets the URL, for httpapi.Config.PublicURL.
func Serve(t testing.TB, newHandler func(url string) (http.Handler, error)) (url string) {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	handler, err := newHandler("http://" + server.Listener.Addr().String())
	if err != nil {
		server.Close()
	}
	require.NoError(t, err)
	server.Config.Handler = handler
	server.Start()
	t.Cleanup(server.Close)
	return server.URL
}
