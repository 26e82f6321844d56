package httpapitest

import (
	"errors"
	"net/http"
	"net/http/httptest"
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
	// Manager and Handler are the host's parts.
	Manager *session.Manager
	Handler *httpapi.Handler

	t testing.TB
}

// NewHost starts a host, which ends with the test.
func NewHost(t testing.TB, cfg HostConfig) *Host {
	t.Helper()
	h := &Host{t: t, Manager: NewManager(t, cfg.Session)}
	h.URL = Serve(t, func(publicURL string) (handler http.Handler, err error) {
		cfg.HTTP.PublicURL = publicURL
		for _, limit := range []*int{&cfg.HTTP.ConnectsPerMinute, &cfg.HTTP.CallbacksPerMinute, &cfg.HTTP.RequestsPerMinute} {
			if *limit == 0 {
				*limit = -1
			}
		}
		if cfg.HTTP.Identify == nil {
			cfg.HTTP.Identify = byHeader
		}
		if h.Handler, err = httpapi.New(h.Manager, cfg.HTTP); err != nil {
			return nil, err
		}
		if cfg.Wrap != nil {
			return cfg.Wrap(h.Handler), nil
		}
		return h.Handler, nil
	})
	const route = "/auth/callback"
	callback := h.Handler.CallbackURL()
	h.APIURL = callback[:len(callback)-len(route)]
	return h
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
