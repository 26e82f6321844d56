package oauthclient

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"time"
)

// logChallenge logs what a server asked for, at debug level.
func (p *OAuthProvider) logChallenge(ctx context.Context, status int, sent Secret, ch challenge) {
	if !p.cfg.Logger.Enabled(ctx, slog.LevelDebug) {
		return
	}
	text := func(s string) string { return cleanText(s, 200, []string{sent.Reveal()}) }
	p.cfg.Logger.DebugContext(ctx, "mcpoauth: the MCP server asks for authorization", "server", withoutQuery(p.cfg.ServerURL), "status", status,
		"had_token", !sent.IsZero(), "error", text(ch.errorCode), "error_description", text(ch.description),
		"scopes", text(strings.Join(ch.scopes, " ")), "resource_metadata", text(withoutQuery(ch.resourceMetadata)))
}

// debugHTTP returns what logs the answer of an HTTP request at debug level.
func (c *config) debugHTTP(req *http.Request, op string) func(*http.Response, error) {
	begun := time.Now()
	return func(resp *http.Response, err error) {
		attrs := []slog.Attr{slog.String("method", req.Method), slog.String("host", req.URL.Host), slog.Duration("took", time.Since(begun))}
		if op != "" {
			attrs = append(attrs, slog.String("for", op))
		}
		if resp != nil {
			attrs = append(attrs, slog.Int("status", resp.StatusCode))
		}
		if err != nil {
			attrs = append(attrs, slog.String("error", errorText(err)))
		}
		c.Logger.LogAttrs(req.Context(), slog.LevelDebug, "mcpoauth: sent a request", attrs...)
	}
}
