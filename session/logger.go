package session

import (
	"context"
	"log/slog"

	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// logger returns Config.Logger for the client of a session: each line names the
// session and the server. It is small, because every session in memory has one.
func (m *Manager) logger(key, serverURL string) *slog.Logger {
	return slog.New(&sessionHandler{m.cfg.Logger.Handler(), key, serverURL})
}

// sessionHandler adds the session and the server to the lines that do not have
// them.
type sessionHandler struct {
	slog.Handler
	key, serverURL string
}

// Handle implements [slog.Handler].
func (h *sessionHandler) Handle(ctx context.Context, r slog.Record) error {
	session, server := true, true
	r.Attrs(func(a slog.Attr) bool {
		session, server = session && a.Key != "session", server && a.Key != "server"
		return true
	})
	r = r.Clone()
	if session {
		r.AddAttrs(slog.String("session", h.key))
	}
	if server {
		r.AddAttrs(slog.String("server", oauthclient.ServerHost(h.serverURL)))
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements [slog.Handler].
func (h *sessionHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &sessionHandler{h.Handler.WithAttrs(attrs), h.key, h.serverURL}
}

// WithGroup implements [slog.Handler].
func (h *sessionHandler) WithGroup(name string) slog.Handler {
	return &sessionHandler{h.Handler.WithGroup(name), h.key, h.serverURL}
}
