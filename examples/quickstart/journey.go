package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/session"
)

// journey plays a front end and the browser it runs in.
type journey struct {
	world *world
	out   *narrator

	sessionID, authURL, callbackURL string // what one step leaves for the next
}

func newJourney(w *world, out *narrator) *journey { return &journey{world: w, out: out} }

// step is a part of the journey.
type step struct {
	title, text string
	do          func(context.Context) error // fails unless the answers are as expected
	wants       []string                    // the kinds of exchanges that it must have caused
}

func (j *journey) steps() []step {
	return []step{
		{
			"Connect", "The front end asks its host to connect to an MCP server, which wants a token.", j.connect,
			[]string{"connect", "challenge", "resource metadata", "server metadata", "registration"},
		},
		{
			"Authorize", "The browser opens the authorization URL, and the user says yes.", j.authorize,
			[]string{"authorization page", "decision"},
		},
		{
			"Callback", "The browser is sent back to the host, on whichever replica, which gets the tokens.", j.callback,
			[]string{"callback", "token request", "initialize", "status"},
		},
		{
			"List", "From now on the session ID is all that is needed.", j.list,
			[]string{"list", "tools/list"},
		},
		{
			"Call", "One tool, by name.", j.call,
			[]string{"call", "tools/call"},
		},
		{
			"Disconnect", "The host forgets the session, ends it at the server, and has the tokens revoked.", j.disconnect,
			[]string{"disconnect", "end of MCP session", "revocation", "list"},
		},
	}
}

// run makes the journey and tells it, to its end or the first step that is not
// as expected.
func (j *journey) run(ctx context.Context) error {
	begin, total := time.Now(), 0
	j.out.title("Connecting a user to an MCP server that needs OAuth")
	j.out.fact(browser, "plays the front end too, with a cookie jar")
	j.world.introduce(j.out)
	for i, s := range j.steps() {
		j.out.step(i+1, s.title, s.text)
		err := s.do(ctx)
		seen := j.world.wire.take(false)
		j.out.exchanges(seen)
		if err == nil {
			err = missing(seen, s.wants)
		}
		if err != nil {
			return fmt.Errorf("step %d (%s): %w", i+1, strings.ToLower(s.title), err)
		}
		total += len(seen)
	}
	j.out.end(fmt.Sprintf("All as expected: %d steps, %d requests, %d ms.", len(j.steps()), total, time.Since(begin).Milliseconds()))
	return nil
}

// missing says what should have gone over the wire and did not.
func missing(seen []*exchange, wants []string) error {
	for _, want := range wants {
		if !slices.ContainsFunc(seen, func(x *exchange) bool { return kindOf(x).name == want }) {
			return fmt.Errorf("no request of the kind %q was seen", want)
		}
	}
	return nil
}

func (j *journey) connect(ctx context.Context) error {
	body := httpapi.ConnectRequest{ServerURL: j.world.mcp.URL()}
	answer, err := j.api(ctx, http.MethodPost, "/auth/connect", body, http.StatusUnauthorized)
	if err != nil {
		return err
	}
	if !httpapi.IsConnectAuthRequired(answer) {
		return errors.New("the host does not ask for an authorization")
	}
	j.authURL, j.sessionID = answer.AuthRequired.AuthURL, answer.AuthRequired.SessionID
	return nil
}

func (j *journey) authorize(ctx context.Context) error {
	if _, err := j.visit(ctx, http.MethodGet, j.authURL, http.StatusOK); err != nil {
		return fmt.Errorf("the consent page: %w", err)
	}
	answer, err := j.visit(ctx, http.MethodPost, j.authURL, http.StatusFound, http.StatusSeeOther)
	if err != nil {
		return fmt.Errorf("the consent: %w", err)
	}
	j.callbackURL = answer.location
	want := j.world.api + "/auth/callback?"
	if !strings.HasPrefix(j.callbackURL, want) {
		return errors.New("the browser is not sent back to the host's callback URL")
	}
	return nil
}

func (j *journey) callback(ctx context.Context) error {
	answer, err := j.visit(ctx, http.MethodGet, j.callbackURL, http.StatusOK)
	if err != nil {
		return err
	}
	if title := reply(answer.header, answer.body).title; title != "Connected" {
		return fmt.Errorf("the page says %q", title)
	}
	done := j.world.auth.Counts()
	if done.Registrations != 1 || done.Authorizations != 1 || done.Exchanges != 1 {
		return fmt.Errorf("want one registration, one code and one exchange, the authorization server counted %d, %d and %d",
			done.Registrations, done.Authorizations, done.Exchanges)
	}
	data, err := j.send(ctx, http.MethodGet, "/auth/status?"+j.query(), nil, http.StatusOK)
	if err != nil {
		return err
	}
	var status httpapi.SessionStatus
	if err := json.Unmarshal(data, &status); err != nil {
		return fmt.Errorf("the status: %w", err)
	}
	if status.Status != string(session.StatusConnected) {
		return fmt.Errorf("the session's status is %q", status.Status)
	}
	return nil
}

func (j *journey) list(ctx context.Context) error {
	answer, err := j.api(ctx, http.MethodGet, "/tool/list?"+j.query(), nil, http.StatusOK)
	if err != nil {
		return err
	}
	if !httpapi.IsListToolsSuccess(answer) {
		return errors.New("the answer is no list of tools")
	}
	if got, want := len(answer.ListToolsSuccess.Tools), len(mcptest.Tools()); got != want {
		return fmt.Errorf("want %d tools, got %d", want, got)
	}
	return nil
}

func (j *journey) call(ctx context.Context) error {
	body := httpapi.CallToolRequest{SessionID: j.sessionID, ToolName: "add", ToolArgs: json.RawMessage(`{"a":20,"b":22}`)}
	answer, err := j.api(ctx, http.MethodPost, "/tool/call", body, http.StatusOK)
	if err != nil {
		return err
	}
	if !httpapi.IsCallToolSuccess(answer) {
		return errors.New("the answer is no result of a tool")
	}
	if got := string(answer.CallToolSuccess.StructuredContent); got != `{"sum":42}` {
		return fmt.Errorf("the result is %s", got)
	}
	return nil
}

func (j *journey) disconnect(ctx context.Context) error {
	body := httpapi.DisconnectRequest{SessionID: j.sessionID}
	if _, err := j.api(ctx, http.MethodPost, "/auth/disconnect", body, http.StatusOK); err != nil {
		return err
	}
	for _, token := range j.world.mcp.Tokens() {
		if _, err := j.world.auth.Verify(token); !errors.Is(err, authtest.ErrTokenRevoked) {
			return errors.New("the access token is still good")
		}
	}
	answer, err := j.api(ctx, http.MethodGet, "/tool/list?"+j.query(), nil, http.StatusNotFound)
	if err != nil {
		return err
	}
	if !httpapi.IsConnectError(answer) || answer.ErrorResponse.Code != httpapi.CodeSessionNotFound {
		return errors.New("the session is still there")
	}
	return nil
}

func (j *journey) query() string { return url.Values{"sessionId": {j.sessionID}}.Encode() }

// api sends a request to the host, as a front end does.
func (j *journey) api(ctx context.Context, method, path string, body any, want int) (answer httpapi.Response, err error) {
	data, err := j.send(ctx, method, path, body, want)
	if err != nil {
		return answer, err
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		return answer, fmt.Errorf("the answer: %w", err)
	}
	return answer, nil
}

func (j *journey) send(ctx context.Context, method, path string, body any, want int) ([]byte, error) {
	var encoded []byte
	if body != nil {
		var err error
		if encoded, err = json.Marshal(body); err != nil {
			return nil, err
		}
	}
	header := http.Header{"Accept": {"application/json"}, "Content-Type": {"application/json"}}
	answer, err := browse(ctx, j.world.browser, method, j.world.api+path, header, encoded, want)
	return answer.body, err
}

// visit opens a page, or with POST presses its Approve button.
func (j *journey) visit(ctx context.Context, method, target string, want ...int) (page, error) {
	header, form := http.Header{"Accept": {"text/html"}}, ""
	if method == http.MethodPost {
		header.Set("Content-Type", "application/x-www-form-urlencoded")
		form = url.Values{"decision": {"approve"}}.Encode()
	}
	return browse(ctx, j.world.browser, method, target, header, []byte(form), want...)
}
