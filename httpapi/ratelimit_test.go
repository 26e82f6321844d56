package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
)

// from sends a request to an endpoint from an address.
func from(t testing.TB, h http.Handler, endpoint, remote string, pairs ...string) *httptest.ResponseRecorder {
	t.Helper()
	e := endpoints()[endpoint]
	r := httptest.NewRequestWithContext(t.Context(), e.method, publicURL+e.path, strings.NewReader(e.body))
	r.RemoteAddr = remote
	if e.body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		r.Header.Add(pairs[i], pairs[i+1])
	}
	toHost(r, h)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func byUser(c *httpapi.Config) {
	c.Identify = func(r *http.Request) (string, error) {
		if user := r.Header.Get("User"); user != "" {
			return user, nil
		}
		return "", errors.New("nobody")
	}
}

const someone = "8.8.8.8:1"

func TestRateLimitAnswers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		h, log := newFake(t, f, func(c *httpapi.Config) { c.RequestsPerMinute = 2 })
		for left := range 2 {
			w := from(t, h, "list", someone)
			require.Equal(t, 200, w.Code)
			require.Equal(t, "2", w.Header().Get("X-RateLimit-Limit"))
			require.Equal(t, strconv.Itoa(1-left), w.Header().Get("X-RateLimit-Remaining"))
			require.Empty(t, w.Header().Get("Retry-After"))
		}
		w := from(t, h, "call", someone)
		require.Equal(t, 429, w.Code)
		require.Equal(t, `{"error":"There are too many requests. Try again later.","code":"rate_limited"}`, w.Body.String())
		require.Equal(t, "application/json", w.Header().Get("Content-Type"))
		require.Equal(t, "76", w.Header().Get("Retry-After"))
		require.Equal(t, "2", w.Header().Get("X-RateLimit-Limit"))
		require.Equal(t, "0", w.Header().Get("X-RateLimit-Remaining"))
		reset, err := strconv.ParseInt(w.Header().Get("X-RateLimit-Reset"), 10, 64)
		require.NoError(t, err)
		require.LessOrEqual(t, reset, time.Now().Add(time.Minute).Unix())
		requireProtected(t, w)
		require.Len(t, f.called(), 2)
		require.Contains(t, log.String(), w.Header().Get("X-Request-Id"))
		call := endpoints()["call"]
		record(t, exchange{call.method, call.path, http.Header{"Content-Type": {"application/json"}}, call.body, w.Code, w.Header(), w.Body.String()})
	})
}

// A caller that waits as long as Retry-After says gets in, and not much earlier.
func TestRetryAfterIsTrue(t *testing.T) {
	t.Parallel()
	for _, limit := range []int{1, 2, 5, 30, 600} {
		for _, into := range []time.Duration{0, 7 * time.Second, 30 * time.Second, 59 * time.Second} {
			synctest.Test(t, func(t *testing.T) {
				h, _ := newFake(t, &fake{}, func(c *httpapi.Config) { c.RequestsPerMinute = limit })
				time.Sleep(into)
				for range 3 { // the second and third time on top of the last window
					var w *httptest.ResponseRecorder
					for w = from(t, h, "list", someone); w.Code == 200; w = from(t, h, "list", someone) {
					}
					seconds, err := strconv.Atoi(w.Header().Get("Retry-After"))
					require.NoError(t, err)
					time.Sleep(time.Duration(seconds)*time.Second - 2*time.Second)
					if seconds > 2 {
						require.Equal(t, 429, from(t, h, "list", someone).Code, "limit %d", limit)
					}
					time.Sleep(2 * time.Second)
					require.Equal(t, 200, from(t, h, "list", someone).Code, "limit %d", limit)
				}
			})
		}
	}
}

// A window that has just begun does not give the whole budget again.
func TestRateLimitSlides(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, _ := newFake(t, &fake{}, func(c *httpapi.Config) { c.RequestsPerMinute = 10 })
		time.Sleep(time.Until(time.Now().Truncate(time.Minute).Add(time.Minute - time.Second)))
		allowed := func() (n int) {
			for from(t, h, "list", someone).Code == 200 {
				n++
			}
			return n
		}
		require.Equal(t, 10, allowed())
		time.Sleep(2 * time.Second)
		require.Zero(t, allowed())
		time.Sleep(29 * time.Second)
		require.Equal(t, 5, allowed())
	})
}

func TestBudgetsAreSeparate(t *testing.T) {
	t.Parallel()
	budgets := map[string]string{
		"connect": "connect", "callback": "callback",
		"disconnect": "rest", "status": "rest", "sessions": "rest", "list": "rest", "call": "rest",
		"metadata": "", // authorization servers fetch it
		"keys":     "", // authorization servers fetch them
	}
	for used := range endpoints() {
		h, _ := newFake(t, &fake{clientID: "x", keySet: []byte(`{"keys":[]}`)}, byUser, func(c *httpapi.Config) {
			c.ConnectsPerMinute, c.CallbacksPerMinute, c.RequestsPerMinute = 1, 1, 1
		})
		require.Equal(t, 200, from(t, h, used, someone, "User", "alice").Code, used)
		for next := range endpoints() {
			if next == used || budgets[next] == "" || budgets[next] == "rest" && budgets[used] != "rest" {
				continue // the first of the rest would use up that budget
			}
			want := 200
			if budgets[next] == budgets[used] {
				want = 429
			}
			require.Equal(t, want, from(t, h, next, someone, "User", "alice").Code, "%s after %s", next, used)
		}
	}
}

func TestWhoIsCounted(t *testing.T) {
	t.Parallel()
	behind := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for name, tc := range map[string]struct {
		proxies       []netip.Prefix
		first, second []string // the address, then headers
		same          bool
	}{
		"an address":                        {nil, []string{"8.8.8.8:1"}, []string{"8.8.8.8:2"}, true},
		"another address":                   {nil, []string{"8.8.8.8:1"}, []string{"8.8.4.4:1"}, false},
		"IPv4 in IPv6":                      {nil, []string{"8.8.8.8:1"}, []string{"[::ffff:8.8.8.8]:1"}, true},
		"a /64 of IPv6":                     {nil, []string{"[2001:4860:1:2::1]:1"}, []string{"[2001:4860:1:2:9:9:9:9]:1"}, true},
		"another /64":                       {nil, []string{"[2001:4860:1:2::1]:1"}, []string{"[2001:4860:1:3::1]:1"}, false},
		"a Unix socket":                     {nil, []string{"@"}, []string{""}, true},
		"loopback":                          {nil, []string{"127.0.0.1:1"}, []string{"127.0.0.1:2"}, true},
		"one owner, two addresses":          {nil, []string{"8.8.8.8:1", "User", "alice"}, []string{"8.8.4.4:1", "User", "alice"}, true},
		"two owners, one address":           {nil, []string{"8.8.8.8:1", "User", "alice"}, []string{"8.8.8.8:1", "User", "bob"}, false},
		"an owner and nobody":               {nil, []string{"8.8.8.8:1", "User", "alice"}, []string{"8.8.8.8:1"}, false},
		"an owner named like an address":    {nil, []string{"8.8.8.8:1", "User", "8.8.8.8/32"}, []string{"8.8.8.8:1"}, false},
		"no proxy, a forged header":         {nil, []string{"8.8.8.8:1", "X-Forwarded-For", "1.1.1.1"}, []string{"8.8.8.8:1", "X-Forwarded-For", "1.1.1.2"}, true},
		"other headers":                     {behind, []string{"10.0.0.1:1", "X-Real-Ip", "1.1.1.1", "Forwarded", "for=1.1.1.1"}, []string{"10.0.0.1:1", "X-Real-Ip", "1.1.1.2"}, true},
		"proxy that is not configured":      {behind, []string{"192.168.0.1:1", "X-Forwarded-For", "1.1.1.1"}, []string{"192.168.0.1:1", "X-Forwarded-For", "1.1.1.2"}, true},
		"behind a proxy":                    {behind, []string{"10.0.0.1:1", "X-Forwarded-For", "1.1.1.1"}, []string{"10.0.0.2:1", "X-Forwarded-For", "1.1.1.1"}, true},
		"behind a proxy, another":           {behind, []string{"10.0.0.1:1", "X-Forwarded-For", "1.1.1.1"}, []string{"10.0.0.1:1", "X-Forwarded-For", "1.1.1.2"}, false},
		"behind a proxy, with a port":       {behind, []string{"10.0.0.1:1", "X-Forwarded-For", "1.1.1.1:77"}, []string{"10.0.0.1:1", "X-Forwarded-For", "1.1.1.1"}, true},
		"behind a proxy, IPv6":              {behind, []string{"[fd00::1]:1", "X-Forwarded-For", "2001:4860:1:2::1"}, []string{"10.0.0.1:1", "X-Forwarded-For", "[2001:4860:1:2::2]:7"}, true},
		"two proxies":                       {behind, []string{"10.0.0.1:1", "X-Forwarded-For", "1.1.1.1, 10.9.9.9"}, []string{"10.0.0.1:1", "X-Forwarded-For", "1.1.1.1"}, true},
		"a client's own header":             {behind, []string{"10.0.0.1:1", "X-Forwarded-For", "7.7.7.7, 1.1.1.1"}, []string{"10.0.0.1:1", "X-Forwarded-For", "7.7.7.8,1.1.1.1"}, true},
		"a client's own header, in two":     {behind, []string{"10.0.0.1:1", "X-Forwarded-For", "7.7.7.7", "X-Forwarded-For", "1.1.1.1"}, []string{"10.0.0.1:1", "X-Forwarded-For", "1.1.1.1"}, true},
		"a client that claims to be inside": {behind, []string{"10.0.0.1:1", "X-Forwarded-For", "10.7.7.7, 1.1.1.1"}, []string{"10.0.0.1:1", "X-Forwarded-For", "10.7.7.8, 1.1.1.1"}, true},
		"garbage":                           {behind, []string{"10.0.0.1:1", "X-Forwarded-For", "1.1.1.1, unknown"}, []string{"10.0.0.1:1", "X-Forwarded-For", "1.1.1.2, _x"}, true},
		"nothing forwarded":                 {behind, []string{"10.0.0.1:1"}, []string{"10.0.0.1:1"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h, _ := newFake(t, &fake{}, byUser, func(c *httpapi.Config) { c.ConnectsPerMinute, c.TrustedProxies = 1, tc.proxies })
				require.NotEqual(t, 429, from(t, h, "connect", tc.first[0], tc.first[1:]...).Code)
				again := from(t, h, "connect", tc.second[0], tc.second[1:]...).Code
				require.Equal(t, tc.same, again == 429)
			})
		})
	}
}

func TestRateKey(t *testing.T) {
	t.Parallel()
	h, _ := newFake(t, &fake{}, func(c *httpapi.Config) {
		c.ConnectsPerMinute = 1
		c.RateKey = func(r *http.Request) string { return r.Header.Get("Key") }
	})
	require.Equal(t, 200, from(t, h, "connect", "10.0.0.1:1", "Key", "a").Code)
	require.Equal(t, 429, from(t, h, "connect", "10.0.0.2:1", "Key", "a").Code)
	require.Equal(t, 200, from(t, h, "connect", "10.0.0.1:1", "Key", "b").Code)
	for range 3 {
		require.Equal(t, 200, from(t, h, "connect", someone).Code, "no key, no limit")
	}
}

func TestRateLimitsOff(t *testing.T) {
	t.Parallel()
	h, _ := newFake(t, &fake{}, func(c *httpapi.Config) {
		c.ConnectsPerMinute, c.CallbacksPerMinute, c.RequestsPerMinute = -1, -1, -1
	})
	for range 1000 {
		for _, endpoint := range []string{"connect", "callback", "call"} {
			w := from(t, h, endpoint, someone)
			require.Equal(t, 200, w.Code)
			require.Empty(t, w.Header().Get("X-RateLimit-Limit"))
		}
	}
}

// A proxy that is not configured makes all clients one: the log says so, once.
func TestUnknownProxyIsLoggedOnce(t *testing.T) {
	t.Parallel()
	h, log := newFake(t, &fake{})
	from(t, h, "list", "8.8.8.8:1", "X-Forwarded-For", "1.1.1.1")
	from(t, h, "list", "10.0.0.1:1")
	require.NotContains(t, log.String(), "TrustedProxies")
	for range 3 {
		from(t, h, "list", "10.0.0.1:1", "X-Forwarded-For", "1.1.1.1")
	}
	require.Equal(t, 1, strings.Count(log.String(), "TrustedProxies"))
}

// A flood of requests without a login is stopped before its bodies are read, and
// neither uses up anybody's budget nor keeps the users at that address out.
func TestFloodWithoutLogin(t *testing.T) {
	t.Parallel()
	f := &fake{}
	h, _ := newFake(t, f, byUser, func(c *httpapi.Config) { c.RequestsPerMinute = 3 })
	for i := range 4 {
		r := httptest.NewRequestWithContext(t.Context(), "POST", publicURL+pathCall, unreadable{t})
		r.RemoteAddr = someone
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		require.Equal(t, []int{401, 401, 401, 429}[i], w.Code)
	}
	require.Empty(t, f.called())
	require.Equal(t, 200, from(t, h, "call", someone, "User", "alice").Code)
}

// unreadable is a body that must not be read.
type unreadable struct{ t *testing.T }

func (u unreadable) Read([]byte) (int, error) {
	u.t.Error("the body of a refused request was read")
	return 0, errors.New("read")
}

// Over the limit a browser that comes back still gets a page.
func TestRateLimitedCallbackIsAPage(t *testing.T) {
	t.Parallel()
	f := &fake{}
	h, _ := newFake(t, f, func(c *httpapi.Config) { c.CallbacksPerMinute = 1 })
	require.Equal(t, 200, from(t, h, "callback", someone).Code)
	w := from(t, h, "callback", someone, "Accept", "text/html")
	require.Equal(t, 429, w.Code)
	require.NotEmpty(t, w.Header().Get("Retry-After"))
	require.Contains(t, w.Body.String(), "There are too many requests.")
	require.Contains(t, w.Header().Get("Content-Security-Policy"), "script-src 'nonce-")
	require.Len(t, f.called(), 1)
	require.Equal(t, httpapi.CodeRateLimited, errorOf(t, from(t, h, "callback", someone)).Code)
}

// A flood from everywhere does not fill the memory, resets no count, and takes
// nothing from owners.
func TestRateLimitMemoryIsFlat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // where the minute does not turn
		h, _ := newFake(t, &fake{}, func(c *httpapi.Config) {
			c.Logger, c.RequestsPerMinute = slog.New(slog.DiscardHandler), 2
			c.Identify = func(r *http.Request) (string, error) { return r.Header.Get("User"), nil }
		})
		status := func(remote, user string) int { return from(t, h, "status", remote, "User", user).Code }
		require.Equal(t, 401, status(someone, ""))
		require.Equal(t, 401, status(someone, ""))
		require.Equal(t, 429, status(someone, ""))
		require.Equal(t, 200, status(someone, "alice"))

		e := endpoints()["status"]
		flood := func(first, n int) {
			r := httptest.NewRequestWithContext(t.Context(), e.method, publicURL+e.path, nil)
			for i := range n {
				r.RemoteAddr = fmt.Sprintf("[2001:%x:%x:1::1]:1", (first+i)>>16, (first+i)&0xffff)
				h.ServeHTTP(httptest.NewRecorder(), r)
			}
		}
		heap := func() int {
			runtime.GC()
			runtime.GC() // what the first one found
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return int(m.HeapAlloc)
		}
		flood(0, httpapi.MaxRateKeys)
		full := heap()
		flood(1<<24, httpapi.MaxRateKeys)
		after := heap()
		_, _, n := h.RateKeys()
		require.LessOrEqual(t, n, httpapi.MaxRateKeys+httpapi.SharedTallies+1)
		t.Logf("%d callers: %d KiB, after twice as many: %d KiB", n, full>>10, after>>10)
		require.Less(t, after, full*2)

		require.Equal(t, 429, status(someone, ""), "a count was reset")
		require.Equal(t, 200, status(someone, "alice"))
		require.Equal(t, 429, status(someone, "alice"), "a count was reset")
		require.Equal(t, 200, status(someone, "bob"), "an owner who comes later")
	})
}

// counter is a shared counter that does what a test says.
type counter struct {
	total func(ctx context.Context, key string, n int64) (int64, error)
}

func (c counter) Add(ctx context.Context, key string, n int64, _ time.Time) (int64, error) {
	return c.total(ctx, key, n)
}

// A store that is away, or hangs, never turns into a refused request; the
// replica counts for itself, and does not wait each time.
func TestRateLimitWithoutTheStore(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(context.Context) error{
		"away":  func(context.Context) error { return errors.New("away") },
		"hangs": func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				asked := 0
				f := &fake{counter: counter{func(ctx context.Context, _ string, _ int64) (int64, error) {
					asked++
					return 0, fail(ctx)
				}}}
				h, _ := newFake(t, f, func(c *httpapi.Config) { c.ConnectsPerMinute = 5 })
				begin := time.Now()
				for range 5 {
					require.Equal(t, 200, from(t, h, "connect", someone).Code)
				}
				require.Equal(t, 429, from(t, h, "connect", someone).Code)
				require.Equal(t, 1, asked)
				require.LessOrEqual(t, time.Since(begin), time.Second)
				time.Sleep(2 * time.Second)
				from(t, h, "connect", "8.8.4.4:1")
				require.Equal(t, 2, asked, "it is asked again after a while")
			})
		})
	}
}

// What others have counted is heard of, a portion is never larger than what it
// is a part of, and names of people and addresses do not leave the process.
func TestRateLimitHearsOfOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var asked []int64
		counts := make(map[string]int64)
		f := &fake{counter: counter{func(_ context.Context, key string, n int64) (int64, error) {
			require.Regexp(t, `^rate:(connect|request):[0-9]+:[A-Za-z0-9_-]{22}$`, key)
			asked = append(asked, n)
			counts[key] += n
			return counts[key], nil
		}}}
		h, _ := newFake(t, f, byUser, func(c *httpapi.Config) { c.ConnectsPerMinute, c.RequestsPerMinute = 5, 100 })
		require.Equal(t, 200, from(t, h, "connect", someone, "User", "alice").Code)
		for key := range counts {
			counts[key] += 3 // by other replicas
		}
		require.Equal(t, 200, from(t, h, "connect", someone, "User", "alice").Code)
		require.Equal(t, 429, from(t, h, "connect", someone, "User", "alice").Code)
		require.Equal(t, 429, from(t, h, "connect", someone, "User", "alice").Code)
		require.Equal(t, []int64{1, 0, 1}, asked, "the last minute matters now, and a refused request costs nothing")

		clear(counts)
		asked = nil
		for range 100 {
			require.Equal(t, 200, from(t, h, "call", someone, "User", "alice").Code)
		}
		require.Equal(t, 429, from(t, h, "call", someone, "User", "alice").Code)
		require.Equal(t, []int64{1, 0, 2, 4, 8, 10, 9, 8, 7, 6, 5, 5, 4}, asked[:13], "portions grow, and shrink near the limit")
		require.Len(t, asked, 34)
	})
}
