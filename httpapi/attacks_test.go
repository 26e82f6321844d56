package httpapi_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/session"
)

// attack is a callback that must be refused. It gets a session that alice has
// begun in her browser, and returns who sends which response where.
type attack struct {
	iss    authtest.IssMode
	signed bool // the host has Identify
	make   func(s attackScene) (sender *browser, params url.Values)
	// ends tells that the attempt cannot be finished afterwards by its owner:
	// it was before, or is too old.
	ends bool
}

type attackScene struct {
	t            *testing.T
	w            *world
	alice        *browser
	begun        answer // alice's
	mallory      *browser
	malloryBegun answer
	later        func(time.Duration)
}

// response is what the authorization server sends back, with the user's yes or
// no.
func (s attackScene) response(begun answer, yes bool) url.Values {
	s.t.Helper()
	visit := s.w.as.Approve
	if !yes {
		visit = s.w.as.Deny
	}
	callback, err := visit(s.t.Context(), begun.AuthRequired.AuthURL)
	require.NoError(s.t, err)
	u, err := url.Parse(callback)
	require.NoError(s.t, err)
	return u.Query()
}

func with(params url.Values, name, value string) url.Values {
	if value == "" {
		params.Del(name)
	} else {
		params.Set(name, value)
	}
	return params
}

// withCookie is a browser that has a binding that the attacker chose.
func (s attackScene) withCookie(user, value string) *browser {
	b := s.w.browser(s.t, user)
	host, err := url.Parse(s.w.url)
	require.NoError(s.t, err)
	if value != "" {
		b.client.Jar.SetCookies(host, []*http.Cookie{{Name: "mcpoauth", Value: value, Path: "/"}})
	}
	return b
}

func attacks() map[string]attack {
	return map[string]attack{
		"phishing: the attacker begins, the victim authorizes": {make: func(s attackScene) (*browser, url.Values) {
			return s.alice, s.response(s.malloryBegun, true)
		}},
		"phishing, the victim is signed in": {signed: true, make: func(s attackScene) (*browser, url.Values) {
			return s.alice, s.response(s.malloryBegun, true)
		}},
		"login CSRF: the attacker authorizes, the victim's browser gets the response": {make: func(s attackScene) (*browser, url.Values) {
			return s.w.browser(s.t, ""), s.response(s.malloryBegun, true)
		}},
		"login CSRF, the victim is signed in": {signed: true, make: func(s attackScene) (*browser, url.Values) {
			return s.w.browser(s.t, "alice"), s.response(s.malloryBegun, true)
		}},
		"a stolen response, sent by the thief": {make: func(s attackScene) (*browser, url.Values) {
			return s.mallory, s.response(s.begun, true)
		}},
		"a stolen response, the thief is signed in": {signed: true, make: func(s attackScene) (*browser, url.Values) {
			return s.mallory, s.response(s.begun, true)
		}},
		"another user's browser with the cookie": {signed: true, make: func(s attackScene) (*browser, url.Values) {
			s.alice.user = "mallory"
			return s.alice, s.response(s.begun, true)
		}},
		"a stripped cookie": {make: func(s attackScene) (*browser, url.Values) {
			return s.withCookie("", ""), s.response(s.begun, true)
		}},
		"a planted cookie": {make: func(s attackScene) (*browser, url.Values) {
			return s.withCookie("", strings.Repeat("A", 26)), s.response(s.begun, true)
		}},
		"a planted cookie that is short": {make: func(s attackScene) (*browser, url.Values) {
			return s.withCookie("", "A"), s.response(s.begun, true)
		}},
		"a replayed callback": {ends: true, make: func(s attackScene) (*browser, url.Values) {
			params := s.response(s.begun, true)
			require.Equal(s.t, 200, s.alice.send("GET", pathCallback+"?"+params.Encode(), "").status)
			return s.alice, params
		}},
		"an expired attempt": {ends: true, make: func(s attackScene) (*browser, url.Values) {
			params := s.response(s.begun, true)
			s.later(11 * time.Minute)
			return s.alice, params
		}},
		"a foreign state": {make: func(s attackScene) (*browser, url.Values) {
			return s.alice, with(s.response(s.begun, true), "state", s.response(s.malloryBegun, true).Get("state"))
		}},
		"an unknown state": {make: func(s attackScene) (*browser, url.Values) {
			return s.alice, with(s.response(s.begun, true), "state", strings.Repeat("A", 26))
		}},
		"no state": {make: func(s attackScene) (*browser, url.Values) {
			return s.alice, with(s.response(s.begun, true), "state", "")
		}},
		"no state, an error": {make: func(s attackScene) (*browser, url.Values) {
			return s.alice, with(s.response(s.begun, false), "state", "")
		}},
		"an error with an unknown state": {make: func(s attackScene) (*browser, url.Values) {
			return s.alice, with(s.response(s.begun, false), "state", strings.Repeat("A", 26))
		}},
		"an error from another browser": {make: func(s attackScene) (*browser, url.Values) {
			return s.mallory, s.response(s.begun, false)
		}},
		"an error with a wrong iss": {make: func(s attackScene) (*browser, url.Values) {
			return s.alice, with(s.response(s.begun, false), "iss", "https://evil.example")
		}},
		"a wrong iss (mix-up)": {make: func(s attackScene) (*browser, url.Values) {
			return s.alice, with(s.response(s.begun, true), "iss", "https://evil.example")
		}},
		"a stripped iss": {make: func(s attackScene) (*browser, url.Values) {
			return s.alice, with(s.response(s.begun, true), "iss", "")
		}},
		"an error with a stripped iss": {make: func(s attackScene) (*browser, url.Values) {
			return s.alice, with(s.response(s.begun, false), "iss", "")
		}},
		"a foreign session ID": {make: func(s attackScene) (*browser, url.Values) {
			return s.alice, with(s.response(s.begun, true), "sessionId", s.malloryBegun.AuthRequired.SessionID)
		}},
		"neither code nor error": {make: func(s attackScene) (*browser, url.Values) {
			return s.alice, with(s.response(s.begun, true), "code", "")
		}},
		"code and error": {make: func(s attackScene) (*browser, url.Values) {
			return s.alice, with(s.response(s.begun, true), "error", "access_denied")
		}},
	}
}

// ways are the forms in which a response may come.
var ways = map[string]func(*browser, url.Values) answer{
	"GET": func(b *browser, params url.Values) answer {
		return b.send("GET", pathCallback+"?"+params.Encode(), "")
	},
	"form_post": func(b *browser, params url.Values) answer {
		return b.send("POST", pathCallback, params.Encode(), "Content-Type", form, "Sec-Fetch-Site", "cross-site", "Origin", "https://as.example")
	},
	"JSON": func(b *browser, params url.Values) answer {
		object := make(map[string]string)
		for name := range params {
			object[name] = params.Get(name)
		}
		body, err := json.Marshal(object)
		require.NoError(b.t, err)
		return b.send("POST", pathCallback, string(body))
	},
}

const oneAnswer = `{"error":"This authorization is unknown, has expired, was completed before, or was begun in another browser. Connect again.","code":"invalid_callback"}`

// RFC 9700 section 4: whatever is wrong with a callback, the answer is the
// same, no code goes anywhere, nothing changes in any session, and who began
// can still finish.
func TestCallback_AttacksGetOneAnswerAndChangeNothing(t *testing.T) {
	t.Parallel()
	for name, attack := range attacks() {
		for way, send := range ways {
			t.Run(name+", "+way, func(t *testing.T) {
				t.Parallel()
				s, sessions := newAttackScene(t, attack)
				sender, params := attack.make(s)
				before, tokens := sessions(), len(s.w.as.Requests(authtest.EndpointToken))
				a := send(sender, params)
				require.Equal(t, 400, a.status)
				require.Equal(t, oneAnswer, a.body)
				require.Equal(t, []string{"Cache-Control", "Content-Length", "Content-Security-Policy", "Content-Type", "Date", "Referrer-Policy", "X-Content-Type-Options", "X-Request-Id"},
					headerNames(a.header), "no header tells one reason from another")
				require.Len(t, s.w.as.Requests(authtest.EndpointToken), tokens, "no code goes to a token endpoint")
				require.Equal(t, before, sessions(), "nothing has changed")
				if !attack.ends && !attack.signed {
					owner := s.w.browser(t, "")
					owner.client = s.alice.client
					require.Equal(t, 200, owner.send("GET", owner.approve(s.begun), "").status, "who began can finish")
				}
			})
		}
	}
}

// newAttackScene also returns what both sessions look like to their owners.
func newAttackScene(t *testing.T, a attack) (s attackScene, sessions func() []string) {
	t.Helper()
	w := newWorld(t, authtest.Options{Iss: a.iss}, mcptest.Options{})
	var offset atomic.Int64
	change := []any{func(c *session.Config) {
		c.Now = func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
	}, func(c *httpapi.Config) { c.CallbacksPerMinute = 0 }} // the default: its headers must not tell
	names := [2]string{"", ""}
	if a.signed {
		change, names = append(change, byHeader), [2]string{"alice", "mallory"}
	}
	w.replica(t, change...)
	s = attackScene{t: t, w: w, alice: w.browser(t, names[0]), mallory: w.browser(t, names[1]), later: func(d time.Duration) { offset.Add(int64(d)) }}
	s.begun, s.malloryBegun = s.alice.connect(), s.mallory.connect()
	return s, func() (looks []string) {
		for i, begun := range []answer{s.begun, s.malloryBegun} {
			looks = append(looks, w.browser(t, names[i]).send("GET", pathStatus+"?sessionId="+begun.AuthRequired.SessionID, "").body)
		}
		return looks
	}
}

func headerNames(h http.Header) (names []string) {
	for name := range h {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// The same for people: a page that says one thing, and has nothing of what came.
func TestCallback_AttacksShowOnePage(t *testing.T) {
	t.Parallel()
	var pages []string
	for name, attack := range attacks() {
		s, _ := newAttackScene(t, attack)
		sender, params := attack.make(s)
		a := sender.send("GET", pathCallback+"?"+params.Encode(), "", "Accept", "text/html")
		require.Equal(t, 400, a.status, name)
		nonce := nonces.FindStringSubmatch(a.header.Get("Content-Security-Policy"))
		require.Len(t, nonce, 2, name)
		pages = append(pages, strings.ReplaceAll(strings.ReplaceAll(a.body, nonce[1], "N"), s.w.url, "HOST"))
		require.Equal(t, pages[0], pages[len(pages)-1], name)
		for _, values := range params {
			if len(values[0]) > 0 && values[0] != "access_denied" {
				require.NotContains(t, a.body, values[0])
			}
		}
	}
}
