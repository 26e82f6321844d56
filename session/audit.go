package session

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// AuditAction is what an [AuditEvent] is about.
type AuditAction string

const (
	// AuditConnect means that a caller connected a server, was sent to authorize
	// (ErrorType "authorization_required"), or was refused by the host's policy
	// ("refused").
	AuditConnect AuditAction = "connect"
	// AuditAuthorize means that an authorization ended, with tokens or without.
	AuditAuthorize AuditAction = "authorize"
	// AuditCallTool means that a caller called a tool, or the host's policy refused that
	// (ErrorType "refused").
	AuditCallTool AuditAction = "call_tool"
	// AuditRefuse means that a caller asked for what is not the caller's: the session of
	// another owner, or an authorization that another browser or owner began.
	AuditRefuse AuditAction = "refuse"
	// AuditDisconnect means that a session was ended for good.
	AuditDisconnect AuditAction = "disconnect"
	// AuditRemoveOwner means that the host ended all sessions of SessionOwner. Each is an
	// AuditDisconnect too. No caller did it, so Owner is empty.
	AuditRemoveOwner AuditAction = "remove_owner"
)

// AuditEvent says who did what. It has no secret, no arguments and no results.
type AuditEvent struct {
	// Time is that of Config.Now when the action had ended.
	Time time.Time
	// Action says what was done.
	Action AuditAction
	// Owner is the owner of the caller, as the host named it.
	Owner string
	// SessionOwner is the owner of the session, if it is not Owner.
	SessionOwner string
	// SessionKey names the session without giving access to it, as in logs. It
	// is empty if there is none.
	SessionKey string
	// Server is the host of the session's server; see
	// [oauthclient.Work].
	Server string
	// Tool is the name of the tool that was called.
	Tool string
	// ErrorType is a short name of what went wrong, one of few, such as
	// "authorization_required" or "tool_error"; see [oauthclient.ErrorType].
	// Empty for success.
	ErrorType string
}

// LogValue implements [slog.LogValuer].
func (e AuditEvent) LogValue() slog.Value {
	attrs := []slog.Attr{slog.String("action", string(e.Action)), slog.String("owner", e.Owner), slog.String("session", e.SessionKey)}
	for _, a := range [...]struct{ name, value string }{{"session_owner", e.SessionOwner}, {"server", e.Server}, {"tool", e.Tool}, {"error_type", e.ErrorType}} {
		if a.value != "" {
			attrs = append(attrs, slog.String(a.name, a.value))
		}
	}
	return slog.GroupValue(attrs...)
}

// audit tells the host of an event.
func (m *Manager) audit(ctx context.Context, e AuditEvent) {
	if m.cfg.Audit == nil {
		return
	}
	e.Time = m.cfg.Now()
	if e.SessionOwner == e.Owner {
		e.SessionOwner = ""
	}
	m.cfg.Audit(context.WithoutCancel(ctx), e) // what was done counts, also if its caller has left
}

// auditInfo tells the host what became of a caller's session.
func (m *Manager) auditInfo(ctx context.Context, action AuditAction, caller Caller, info Info, err error) {
	if m.cfg.Audit == nil {
		return
	}
	e := AuditEvent{Action: action, Owner: caller.Owner, SessionOwner: info.Owner, SessionKey: info.Key, ErrorType: errorType(err)}
	if info.ServerURL != "" {
		e.Server = oauthclient.ServerHost(info.ServerURL)
	}
	if err == nil && info.Status == StatusFailed {
		e.ErrorType = "not_connected"
	}
	if info.Key == "" {
		e.SessionOwner = ""
	}
	m.audit(ctx, e)
}

// auditConnect is auditInfo for a connect, which has no session if it failed.
func (m *Manager) auditConnect(ctx context.Context, caller Caller, p ConnectParams, info Info, err error) {
	if info.ServerURL == "" {
		info.ServerURL = p.ServerURL
	}
	m.auditInfo(ctx, AuditConnect, caller, info, err)
}

// auditAuthorize is auditInfo for a callback. A refused one is an event of its own,
// and an outage of the store before the attempt was taken ends no authorization.
func (m *Manager) auditAuthorize(ctx context.Context, caller Caller, info Info, err error) {
	_, outage := errors.AsType[*StoreError](err)
	if pending := outage && info.Key == ""; !pending && !errors.Is(err, oauthclient.ErrInvalidCallback) {
		m.auditInfo(ctx, AuditAuthorize, caller, info, err)
	}
}

// auditCall tells the host of a call of a tool, if method says that it is one.
func (m *Manager) auditCall(ctx context.Context, caller Caller, sessionID, method, tool string, result any, err error) {
	if m.cfg.Audit == nil || method != "tools/call" || errors.Is(err, ErrNotFound) {
		return
	}
	key, _, _ := splitID(sessionID)
	e := AuditEvent{Action: AuditCallTool, Owner: caller.Owner, SessionOwner: caller.Owner, SessionKey: key, Tool: tool, Server: m.serverOf(key), ErrorType: errorType(err)}
	if result, ok := result.(*oauthclient.CallToolResult); ok && err == nil && result.IsError {
		e.ErrorType = "tool_error"
	}
	m.audit(ctx, e)
}

// auditForeign tells the host of a caller who has no right to a session.
func (m *Manager) auditForeign(ctx context.Context, caller Caller, s stored) {
	if m.cfg.Audit != nil {
		m.audit(ctx, AuditEvent{Action: AuditRefuse, Owner: caller.Owner, SessionOwner: s.Owner, SessionKey: s.key, Server: oauthclient.ServerHost(s.ServerURL), ErrorType: "session_not_found"})
	}
}

// Describe returns the key of a session ID, which names the session in logs, and
// the host of its server, as far as this replica has that in memory. Both may be
// empty. It does not say whether the session exists.
func (m *Manager) Describe(sessionID string) (key, server string) {
	key, _, ok := splitID(sessionID)
	if !ok {
		return "", ""
	}
	return key, m.serverOf(key)
}

// serverOf returns the host of a session's server, if this replica has the record
// in memory, and "" otherwise.
func (m *Manager) serverOf(key string) (server string) {
	m.cache.with(key, false, func(entry *cached) {
		if entry.record != nil {
			server = oauthclient.ServerHost(entry.record.ServerURL)
		}
	})
	return server
}
