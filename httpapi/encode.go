package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
)

// write sends a body that is complete.
func (c *call) write(status int, contentType string, body []byte) {
	header := c.w.Header()
	header.Set("Content-Type", contentType)
	header.Set("Content-Length", strconv.Itoa(len(body)))
	c.w.WriteHeader(status)
	out := c.h.paced(c.w)
	if out.write(body) == nil { // otherwise the client has gone
		out.end()
	}
}

// writeJSON encodes v and sends it.
func (c *call) writeJSON(status int, v any) error {
	buf := c.h.buffer()
	defer c.h.release(buf)
	if err := encodeJSON(buf, v); err != nil {
		return err
	}
	c.write(status, jsonType, buf.Bytes())
	return nil
}

// encodeJSON appends v to buf. Texts stay as they are: with nosniff and the
// JSON content type there is nothing to escape < and & for.
func encodeJSON(buf *bytes.Buffer, v any) error {
	enc := json.NewEncoder(buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	buf.Truncate(buf.Len() - 1) // the encoder's newline
	return nil
}

// answer is the answer to a request that failed: a status and a body.
type answer struct {
	status     int
	code       string // for the log
	retryAfter time.Duration
	body       any // AuthRequired or ErrorResponse
}

// answerTo returns the answer to a request that failed with err. That the user must authorize comes
// first, unless the session or its store is in the way of that too.
func (c *call) answerTo(err error) answer {
	required, ok := errors.AsType[*oauthclient.AuthorizationRequiredError](err)
	_, store := errors.AsType[*session.StoreError](err)
	if ok && !store && !errors.Is(err, session.ErrNotFound) {
		body := AuthRequired{
			RequiresAuth: true, AuthURL: required.AuthURL, SessionID: c.sessionID, AttemptID: required.AttemptID, Reason: string(required.Reason),
		}
		if c.endpoint != "connect" {
			body.Error = "Authorization is required."
		}
		return answer{status: http.StatusUnauthorized, code: "requires_auth", body: body}
	}
	if asked, ok := errors.AsType[*session.InputRequiredError](err); ok {
		body := InputRequired{}
		body.InputRequired.Requests, body.InputRequired.State = asked.Requests, asked.State
		return answer{status: http.StatusAccepted, code: "input_required", body: body}
	}
	f := failureOf(err, c.endpoint == "callback")
	body := f.response()
	if f.rpcCode != nil && *f.rpcCode == codeURLElicitation {
		if c.asksURL && visitable(f.rpcData) {
			body.Code = CodeURLElicitation
		} else {
			body.RPCData = nil
		}
	}
	return answer{status: f.status, code: body.Code, retryAfter: f.retryAfter, body: body}
}

// fail answers with an error, and logs it in detail.
func (c *call) fail(err error) {
	// When a read times out, net/http takes the client for gone.
	if c.clientGone() && !errors.Is(err, errSlowBody) {
		c.logGone(err)
		c.w.WriteHeader(statusClientGone)
		return
	}
	a := c.answerTo(err)
	c.logAnswer(a, err)
	if _, ok := a.body.(AuthRequired); ok {
		c.setBinding()
	}
	c.unify(a)
	c.setRetryAfter(a.retryAfter)
	_ = c.writeJSON(a.status, a.body) // strings and a number always encode
}

// unify removes the headers of the rate limit from answers that must be the same for
// all callers: they would show how many requests there were.
func (c *call) unify(a answer) {
	if a.code == CodeSessionNotFound || a.code == CodeInvalidCallback {
		for _, name := range rateHeaders {
			c.w.Header().Del(name)
		}
	}
}

// refuse answers a request that a limit refuses. On the callback a browser gets the
// page.
func (c *call) refuse(err error) {
	if c.endpoint != "callback" || !accepts(c.r, htmlType) {
		c.fail(err)
		return
	}
	if err := c.tellBrowser(session.Info{}, err); err != nil {
		c.fail(err)
	}
}

// setRetryAfter sets the header, unless d is zero.
func (c *call) setRetryAfter(d time.Duration) {
	if d > 0 {
		c.w.Header().Set("Retry-After", retryAfter(d))
	}
}

// retryAfter is the header's value: whole seconds, rounded up.
func retryAfter(d time.Duration) string {
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)
}

// clientGone reports whether the client has gone, so that no answer reaches it.
func (c *call) clientGone() bool { return errors.Is(c.r.Context().Err(), context.Canceled) }

// logGone notes an error that the client did not wait for.
func (c *call) logGone(err error) {
	c.answered = answer{status: statusClientGone, code: "client_gone"}
	c.h.cfg.Logger.LogAttrs(c.r.Context(), slog.LevelDebug, "mcpoauth: the client did not wait",
		slog.String("request", c.requestID), slog.String("endpoint", c.endpoint), slog.Int("status", statusClientGone), logError(err))
}

// logAnswer logs a failed request, with the details that the answer leaves out. Expected outcomes are debug
// records, the caller's mistakes info, trouble with others a warning, and a
// bug an error.
func (c *call) logAnswer(a answer, err error) {
	c.answered = a
	level := slog.LevelInfo
	switch {
	case a.code == "requires_auth" || a.code == "input_required" || a.code == CodeSessionNotFound || a.code == CodeNotFound:
		level = slog.LevelDebug
	case a.status == http.StatusInternalServerError:
		level = slog.LevelError
	case a.status > http.StatusInternalServerError:
		level = slog.LevelWarn
	}
	key, server := c.h.manager.Describe(c.sessionID)
	attrs := append([]slog.Attr{
		slog.String("request", c.requestID), slog.String("endpoint", c.endpoint), slog.Int("status", a.status), slog.String("code", a.code),
	}, c.logSession(server, key)...)
	if required, ok := a.body.(AuthRequired); ok {
		attrs = append(attrs, slog.String("reason", required.Reason))
	}
	c.h.logFailure(c.r.Context(), level, failureKind{c.endpoint, a.code, server}, append(attrs, logError(err))...)
}

// logError bounds an error's text, part of which may be a server's.
func logError(err error) slog.Attr {
	text := err.Error()
	if len(text) > maxLogText {
		text = strings.ToValidUTF8(text[:maxLogText], "") + "…"
	}
	return slog.String("error", text)
}

// maxLogText bounds the text of one error in the log.
const maxLogText = 2000
