package interop_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
)

// wire is a reverse proxy in front of a server. It records the requests, and
// gives the server a URL before the server runs.
type wire struct {
	url   string
	ready chan struct{} // closed once target is set
	once  sync.Once     // closes ready

	mu        sync.Mutex // guards the fields below
	target    *url.URL
	exchanges []*exchange
	rejected  string // the bearer token that is no longer passed on
}

// exchange is one request and its answer.
type exchange struct {
	method, path string
	header       http.Header
	form         url.Values     // of the query and of a form in the body
	status       int            // 0: no answer yet
	answer       map[string]any // of a JSON object
}

// authorization returns the scheme (Bearer or DPoP) and the token of the request.
func (e *exchange) authorization() (scheme, token string) {
	scheme, token, _ = strings.Cut(e.header.Get("Authorization"), " ")
	return scheme, token
}

// text returns a string of the answer.
func (e *exchange) text(name string) string {
	value, _ := e.answer[name].(string)
	return value
}

type exchangeKey struct{}

// newWire listens. Requests wait until forward names the server.
func newWire(t *testing.T) *wire {
	t.Helper()
	w := &wire{ready: make(chan struct{})}
	proxy := &httputil.ReverseProxy{
		FlushInterval: -1,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(w.behind())
			r.Out.Host = r.In.Host
			r.Out.Header.Del("Accept-Encoding")
		},
		ModifyResponse: w.record,
	}
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		<-w.ready
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(rw, err.Error(), http.StatusBadRequest)
			return
		}
		e := &exchange{method: r.Method, path: r.URL.Path, header: r.Header.Clone(), form: r.URL.Query()}
		if strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
			if form, err := url.ParseQuery(string(body)); err == nil {
				e.form = form
			}
		}
		w.mu.Lock()
		w.exchanges = append(w.exchanges, e)
		if scheme, token := e.authorization(); token != "" && token == w.rejected {
			r.Header.Set("Authorization", scheme+" rejected")
		}
		w.mu.Unlock()
		r.Body = io.NopCloser(bytes.NewReader(body))
		proxy.ServeHTTP(rw, r.WithContext(context.WithValue(r.Context(), exchangeKey{}, e)))
	}))
	t.Cleanup(server.Close)
	w.url = server.URL
	return w
}

// forward sends the requests to a server from now on.
func (w *wire) forward(target string) {
	u, err := url.Parse(target)
	if err != nil {
		panic(err)
	}
	w.mu.Lock()
	w.target = u
	w.mu.Unlock()
	w.once.Do(func() { close(w.ready) })
}

func (w *wire) behind() *url.URL {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.target
}

// record notes the answer, and what it says if it is JSON.
func (w *wire) record(resp *http.Response) error {
	e := resp.Request.Context().Value(exchangeKey{}).(*exchange)
	var answer map[string]any
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") {
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return err
		}
		_ = resp.Body.Close()
		resp.Body = io.NopCloser(bytes.NewReader(body))
		_ = json.Unmarshal(body, &answer) // an array is no concern
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	e.status, e.answer = resp.StatusCode, answer
	return nil
}

// reject makes the server see another token in place of this one, so that the
// server answers as it does when a token has become invalid.
func (w *wire) reject(token string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rejected = token
}

// seen returns copies of the exchanges so far that keep accepts, oldest first.
func (w *wire) seen(keep func(*exchange) bool) []exchange {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []exchange
	for _, e := range w.exchanges {
		if keep(e) {
			out = append(out, *e)
		}
	}
	return out
}

// grants returns the token requests of a grant type, without
// repetitions with a nonce.
func (w *wire) grants(grantType string) []exchange {
	return w.seen(func(e *exchange) bool {
		return e.method == http.MethodPost && e.form.Get("grant_type") == grantType && e.text("error") != "use_dpop_nonce"
	})
}

// issued returns the newest token answer.
func (w *wire) issued() exchange {
	tokens := w.seen(func(e *exchange) bool { return e.text("access_token") != "" })
	if len(tokens) == 0 {
		return exchange{}
	}
	return tokens[len(tokens)-1]
}

// announced returns a member of the server's metadata.
func (w *wire) announced(name string) string {
	for _, e := range w.seen(func(e *exchange) bool { return e.text(name) != "" }) {
		return e.text(name)
	}
	return ""
}

// secrets returns the tokens, codes and client secrets that have passed.
func (w *wire) secrets() []string {
	var out []string
	for _, e := range w.seen(func(*exchange) bool { return true }) {
		for _, name := range []string{"access_token", "refresh_token", "id_token", "client_secret", "registration_access_token"} {
			out = append(out, e.text(name))
		}
		for _, name := range []string{"code", "code_verifier", "state", "refresh_token"} {
			out = append(out, e.form.Get(name))
		}
	}
	return slices.DeleteFunc(out, func(s string) bool { return s == "" })
}

// registrations returns the dynamic registrations (RFC 7591).
func (w *wire) registrations() []exchange {
	return w.seen(func(e *exchange) bool {
		return e.method == http.MethodPost && e.text("client_id") != "" && e.answer["redirect_uris"] != nil
	})
}

// revocations returns the successful revocations (RFC 7009) of a token. Their
// endpoint may be that of the token requests.
func (w *wire) revocations(token string) []exchange {
	return w.seen(func(e *exchange) bool {
		return e.method == http.MethodPost && e.form.Get("token") == token && !strings.Contains(e.path, "introspect") && e.status == http.StatusOK
	})
}
