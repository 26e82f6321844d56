package httpapi

import (
	"bytes"
	"crypto/rand"
	_ "embed" // callback.html
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"time"

	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
)

//go:embed callback.html
var callbackHTML string

// callbackPage never changes after it is parsed.
var callbackPage = template.Must(template.New("callback").Parse(callbackHTML))

// callbackParameters are the parameters of an authorization response (RFC
// 6749 sections 4.1.2 and 4.1.2.1, RFC 9207).
var callbackParameters = []string{"code", "state", "iss", "error", "error_description"}

// callback ends an authorization. A browser gets every failure as a page, because
// no front end reads this answer.
func (c *call) callback() error {
	browser := accepts(c.r, htmlType)
	if browser && c.r.Method == http.MethodPost && mediaType(c.r) == formType {
		return c.repeatAsGet()
	}
	info, err := c.finishAuth()
	switch {
	case browser && !c.clientGone():
		return c.tellBrowser(info, err)
	case err != nil:
		return err
	}
	return c.writeJSON(http.StatusOK, Done{Success: true, Message: "Authorization completed"})
}

// finishAuth reads the response and passes it on unchanged. The manager alone checks
// state, issuer, browser and owner.
func (c *call) finishAuth() (session.Info, error) {
	response, err := c.callbackResponse()
	if err != nil {
		return session.Info{}, err
	}
	caller, err := c.caller()
	if err != nil {
		c.h.manager.CallbackRefused(c.r.Context(), response)
		return session.Info{}, err
	}
	caller.OtherBindings = c.others
	info, err := c.h.manager.FinishAuth(c.r.Context(), caller, c.sessionID, response)
	if errors.Is(err, oauthclient.ErrInvalidCallback) {
		c.h.manager.CallbackRefused(c.r.Context(), response)
	}
	return info, err
}

// repeatAsGet sends a browser that posted an authorization response
// (response_mode=form_post) here once more, with the response in the query:
// SameSite cookies, on which the binding and usually Identify rely, do not
// come with a POST from another site, but do with a GET.
func (c *call) repeatAsGet() error {
	form, err := c.form()
	if err != nil {
		return c.tellBrowser(session.Info{}, err)
	}
	query := oauthclient.ParseCallbackQuery(c.r.URL.RawQuery) // a redirect URI may have parameters of its own
	for _, name := range callbackParameters {
		query.Del(name)
		if form.Has(name) {
			query[name] = form[name]
		}
	}
	// Relative, so that it holds behind every proxy.
	c.w.Header().Set("Location", "?"+query.Encode())
	c.w.WriteHeader(http.StatusSeeOther)
	return nil
}

// form reads a form from the body. [http.Request.ParseForm] would mix the
// query in, where an attacker may have put parameters of another response.
func (c *call) form() (url.Values, error) {
	buf := c.h.buffer()
	defer c.h.release(buf)
	if err := c.readBody(buf); err != nil {
		return nil, err
	}
	return oauthclient.ParseCallbackQuery(buf.String()), nil
}

// callbackResponse reads the authorization response, from the query of a GET
// and from the body alone of a POST, and the session ID beside it.
func (c *call) callbackResponse() (oauthclient.AuthorizationResponse, error) {
	values, err := c.callbackValues()
	if err != nil {
		return oauthclient.AuthorizationResponse{}, err
	}
	c.sessionID = values.Get("sessionId")
	return oauthclient.ParseAuthorizationResponse(values), nil
}

func (c *call) callbackValues() (url.Values, error) {
	switch {
	case c.r.Method == http.MethodGet:
		return oauthclient.ParseCallbackQuery(c.r.URL.RawQuery), nil
	case mediaType(c.r) == formType:
		return c.form()
	}
	var req CallbackRequest
	if err := c.decode(&req); err != nil {
		return nil, err
	}
	values := make(url.Values)
	for name, value := range map[string]string{
		"code": req.Code, "state": req.State, "iss": req.Iss, "error": req.Error, "error_description": req.ErrorDescription, "sessionId": req.SessionID,
	} {
		if value != "" { // in JSON, an empty member is one that the response did not have
			values.Set(name, value)
		}
	}
	return values, nil
}

// outcome is what the page says about the end of an authorization: Status and Code
// for its script, the rest for people. It has nothing by which the session could be found.
type outcome struct {
	Status  string // "connected" or "failed"
	Code    string // of a failure
	Title   string
	Text    string
	Next    string // what to do about a failure
	Wait    bool   // the page waits for the store, and nothing has ended yet
	Nonce   string
	Origins []string // that the message is for

	retryAfter time.Duration // of a failure; zero for none
}

// outcome returns the HTTP status and the content of the page. It says "connected"
// only after the MCP server has answered.
func (c *call) outcome(info session.Info, err error) (status int, o outcome) {
	o = outcome{Nonce: rand.Text(), Origins: c.h.origins}
	switch {
	case err != nil:
		a := c.answerTo(err)
		c.logAnswer(a, err)
		c.unify(a)
		o.Status, o.Code, o.Title, o.Next = "failed", a.code, "Not connected", nextStep(a.code)
		o.retryAfter = a.retryAfter
		if o.Wait = a.code == CodeStoreUnavailable; o.Wait {
			o.Title = "Not connected yet"
		}
		switch body := a.body.(type) {
		case ErrorResponse:
			o.Text = body.Error
		case AuthRequired:
			o.Text = body.Error
		}
		return a.status, o
	case info.Status == session.StatusFailed && info.AuthorizationReason != "":
		f := requiredAgain(info.AuthorizationReason)
		o.Status, o.Code, o.Title, o.Text, o.Next = "failed", f.code, "Not connected", f.text, nextStep(f.code)
		return http.StatusOK, o
	case info.Status != session.StatusConnected:
		// Authorized all the same, but claiming more would be a lie.
		o.Status, o.Code, o.Title = "failed", CodeUpstreamUnavailable, "Not connected yet"
		o.Text, o.Next = "The authorization is completed, but the server did not answer.", "Go back to the application and try again in a moment."
		return http.StatusOK, o
	}
	o.Status, o.Title, o.Text = "connected", "Connected", "You can close this window."
	return http.StatusOK, o
}

// requiredAgain returns the failure for a user whose authorization has just been
// completed and does not suffice for the MCP server.
func requiredAgain(reason oauthclient.Reason) *failure {
	switch reason {
	case oauthclient.ReasonTokenRejected:
		return failureOf(&oauthclient.TokenRejectedError{}, true)
	case oauthclient.ReasonMoreScopes:
		return &failure{code: CodeInsufficientScope, text: "The server needs more access than was given."}
	}
	return &failure{code: CodeAuthorizationFailed, text: "The authorization has ended already."}
}

// nextStep says what a person can do about a failure that they see on a page
// with nothing else on it.
func nextStep(code string) string {
	switch code {
	case CodeInvalidCallback:
		return "Go back to the application and start there." // its text says "Connect again."
	case CodeAccessDenied:
		return "No new access was given. If that was a mistake, go back to the application and connect again."
	case CodeUnauthenticated:
		return "Go back to the application, sign in there, and connect again."
	case CodeStoreUnavailable:
		return "This page tries again by itself. Keep it open."
	case CodeShuttingDown, CodeUpstreamUnavailable, CodeUpstreamTimeout:
		return "Go back to the application and connect again in a moment."
	}
	return "Go back to the application and connect again. If it happens again, tell the people who run it."
}

// tellBrowser shows how the authorization ended, or sends the browser on to
// Config.AfterCallback. While the store is away nothing has ended: the attempt is
// untouched, and the page loads itself again.
func (c *call) tellBrowser(info session.Info, err error) error {
	status, o := c.outcome(info, err)
	if o.Wait && c.r.Method == http.MethodGet {
		c.w.Header().Set("Refresh", "2")
	}
	if c.h.cfg.AfterCallback == "" || o.Wait {
		return c.showPage(status, o)
	}
	u, err := url.Parse(c.h.cfg.AfterCallback)
	if err != nil {
		return err // validated in New
	}
	query := u.Query()
	query.Set("mcp", o.Status)
	u.RawQuery = query.Encode()
	c.w.Header().Del("Retry-After") // of a limit: on a redirect it holds up the next page (RFC 9110 section 10.2.3)
	c.w.Header().Set("Location", u.String())
	c.w.WriteHeader(http.StatusSeeOther)
	return nil
}

// showPage sends the page. Its script sends the outcome to the page that waits. Nothing
// is loaded from elsewhere, and nothing else may run in it or frame it.
func (c *call) showPage(status int, o outcome) error {
	buf := new(bytes.Buffer)
	if err := callbackPage.Execute(buf, o); err != nil {
		return err
	}
	c.setRetryAfter(o.retryAfter)
	c.w.Header().Set("Content-Security-Policy", "default-src 'none'; script-src 'nonce-"+o.Nonce+"'; style-src 'nonce-"+o.Nonce+
		"'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
	c.write(status, "text/html; charset=utf-8", buf.Bytes())
	return nil
}
