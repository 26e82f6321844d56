package otelsession_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/internal/testclock"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
	"github.com/mcpoauth/mcpoauth/session/otelsession"
	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/memstore"
)

// world is a host that is observed, with its servers.
type world struct {
	clock  *testclock.Clock
	as     *authtest.Server
	mcp    *mcptest.Server
	reader *sdkmetric.ManualReader
	spans  *tracetest.SpanRecorder
	host   *httptest.Server
	client *http.Client

	serving sync.WaitGroup // the requests that are observed until they end, after their answer
}

const owner = "alice-owner"

func newWorld(t *testing.T, sessions store.SessionStore, cfg otelsession.Config, mcpOptions mcptest.Options) *world {
	t.Helper()
	w := &world{clock: testclock.New(time.Now()), reader: sdkmetric.NewManualReader(), spans: tracetest.NewSpanRecorder()}
	w.as = authtest.New(authtest.Options{Now: w.clock.Now})
	t.Cleanup(w.as.Close)
	mcpOptions.Auth = w.as
	w.mcp = mcptest.New(mcpOptions)
	t.Cleanup(w.mcp.Close)
	cfg.MeterProvider = sdkmetric.NewMeterProvider(sdkmetric.WithReader(w.reader))
	cfg.TracerProvider = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(w.spans))
	observer, err := otelsession.New(cfg)
	require.NoError(t, err)
	managerConfig := session.Config{Store: sessions, SealKeys: [][]byte{[]byte("0123456789abcdef0123456789abcdef")}, Now: w.clock.Now, Observer: observer}
	managerConfig.Client.Transport = oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowLoopback: true})
	manager, err := session.New(managerConfig)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, manager.Close()) })
	mux := http.NewServeMux()
	w.host = httptest.NewServer(mux)
	t.Cleanup(w.host.Close)
	api, err := httpapi.New(manager, httpapi.Config{PublicURL: w.host.URL, ConnectsPerMinute: 1, Identify: func(*http.Request) (string, error) { return owner, nil }})
	require.NoError(t, err)
	mux.HandleFunc("/api/mcp/", func(rw http.ResponseWriter, r *http.Request) {
		w.serving.Add(1)
		defer w.serving.Done()
		api.ServeHTTP(rw, r)
	})
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	w.client = &http.Client{Jar: jar}
	return w
}

func (w *world) send(t *testing.T, method, path string, body any) (int, map[string]any) {
	t.Helper()
	encoded, err := json.Marshal(body)
	require.NoError(t, err)
	req, err := http.NewRequestWithContext(t.Context(), method, path, strings.NewReader(string(encoded)))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	resp, err := w.client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	w.serving.Wait()
	var out map[string]any
	require.NoError(t, json.Unmarshal(text, &out), string(text))
	return resp.StatusCode, out
}

// authorize connects and returns the ID of the session that the user authorized.
func (w *world) authorize(t *testing.T, query string) string {
	t.Helper()
	status, asked := w.send(t, "POST", w.host.URL+"/api/mcp/auth/connect", map[string]any{"serverUrl": w.mcp.URL() + query})
	require.Equal(t, 401, status, asked)
	callback, err := w.as.Approve(t.Context(), asked["authUrl"].(string))
	require.NoError(t, err)
	status, done := w.send(t, "GET", callback, nil)
	require.Equal(t, 200, status, done)
	return asked["sessionId"].(string)
}

func (w *world) call(t *testing.T, id, tool string) int {
	t.Helper()
	status, _ := w.send(t, "POST", w.host.URL+"/api/mcp/tool/call", map[string]any{"sessionId": id, "toolName": tool, "toolArgs": map[string]any{}})
	return status
}

// point is one point of a metric.
type point struct {
	attrs map[string]string
	n     int64 // the count of a histogram, the value of another metric
}

// collect returns the points of all metrics by name.
func collect(t *testing.T, reader *sdkmetric.ManualReader) map[string][]point {
	t.Helper()
	var data metricdata.ResourceMetrics
	require.NoError(t, reader.Collect(context.Background(), &data))
	found := make(map[string][]point)
	for _, scope := range data.ScopeMetrics {
		for _, m := range scope.Metrics {
			switch d := m.Data.(type) {
			case metricdata.Histogram[float64]:
				for _, p := range d.DataPoints {
					found[m.Name] = append(found[m.Name], point{attributes(p.Attributes), int64(p.Count)})
				}
			case metricdata.Sum[int64]:
				for _, p := range d.DataPoints {
					found[m.Name] = append(found[m.Name], point{attributes(p.Attributes), p.Value})
				}
			case metricdata.Gauge[int64]:
				for _, p := range d.DataPoints {
					found[m.Name] = append(found[m.Name], point{attributes(p.Attributes), p.Value})
				}
			}
		}
	}
	return found
}

func attributes(set attribute.Set) map[string]string {
	out := make(map[string]string)
	for _, kv := range set.ToSlice() {
		out[string(kv.Key)] = kv.Value.String()
	}
	return out
}

// sum adds up the points that have all of these attributes; an empty value is for
// an attribute that must be absent.
func sum(points []point, want ...string) (n int64) {
	for _, p := range points {
		fits := true
		for i := 0; i < len(want); i += 2 {
			fits = fits && p.attrs[want[i]] == want[i+1]
		}
		if fits {
			n += p.n
		}
	}
	return n
}

func TestMetricsOfAJourney(t *testing.T) {
	t.Parallel()
	var w *world
	during := make(chan int64, 1)
	w = newWorld(t, memstore.New(memstore.Config{}), otelsession.Config{}, mcptest.Options{Configure: func(s *mcp.Server) {
		mcp.AddTool(s, &mcp.Tool{Name: "look"}, func(context.Context, *mcp.CallToolRequest, map[string]any) (*mcp.CallToolResult, any, error) {
			during <- sum(collect(t, w.reader)["mcpoauth.endpoint.active_requests"], "mcpoauth.endpoint", "call_tool")
			return nil, nil, nil
		})
		mcp.AddTool(s, &mcp.Tool{Name: "broken"}, func(context.Context, *mcp.CallToolRequest, map[string]any) (*mcp.CallToolResult, any, error) {
			return nil, nil, errors.New("it is broken")
		})
	}})
	id := w.authorize(t, "?api_key=sk-canary")
	require.Equal(t, 200, w.call(t, id, "echo"))
	require.Equal(t, 200, w.call(t, id, "look"))
	require.EqualValues(t, 1, <-during)
	require.Equal(t, 200, w.call(t, id, "broken"))
	w.clock.Advance(2 * time.Hour) // the access token expires
	require.Equal(t, 200, w.call(t, id, "echo"))
	require.Equal(t, 1, w.as.Counts().Refreshes)
	status, _ := w.send(t, "POST", w.host.URL+"/api/mcp/auth/connect", map[string]any{"serverUrl": w.mcp.URL()})
	require.Equal(t, 429, status)
	status, _ = w.send(t, "POST", w.host.URL+"/api/mcp/auth/disconnect", map[string]any{"sessionId": id})
	require.Equal(t, 200, status)
	require.Equal(t, 404, w.call(t, id, "echo"))

	got := collect(t, w.reader)
	server := strings.TrimPrefix(w.mcp.URL(), "http://127.0.0.1:")
	server, _, _ = strings.Cut(server, "/")
	const sessions, calls = "mcpoauth.session.operation.duration", "mcp.client.operation.duration"
	for _, want := range []struct {
		metric string
		n      int64
		attrs  []string
	}{
		{sessions, 1, []string{"mcpoauth.operation", "connect", "error.type", "authorization_required"}},
		{sessions, 1, []string{"mcpoauth.operation", "finish_authorization", "error.type", ""}},
		{sessions, 1, []string{"mcpoauth.operation", "disconnect", "error.type", ""}},
		{"mcpoauth.authorization.begun", 1, []string{"mcpoauth.authorization.reason", "first_time"}},
		{"mcpoauth.refresh.duration", 1, []string{"error.type", ""}},
		{calls, 3, []string{"mcp.method.name", "tools/call", "error.type", "", "server.address", "127.0.0.1", "server.port", server, "gen_ai.operation.name", "execute_tool"}},
		{calls, 1, []string{"mcp.method.name", "tools/call", "error.type", "tool_error"}},
		{"mcpoauth.endpoint.duration", 1, []string{"mcpoauth.endpoint", "connect", "error.type", "requires_auth", "http.response.status_code", "401"}},
		{"mcpoauth.endpoint.duration", 1, []string{"mcpoauth.endpoint", "connect", "error.type", "rate_limited", "http.response.status_code", "429"}},
		{"mcpoauth.endpoint.duration", 4, []string{"mcpoauth.endpoint", "call_tool", "error.type", "", "http.response.status_code", "200"}},
		{"mcpoauth.endpoint.duration", 1, []string{"mcpoauth.endpoint", "call_tool", "error.type", "session_not_found"}},
		{"mcpoauth.endpoint.active_requests", 0, nil},
	} {
		require.Equal(t, want.n, sum(got[want.metric], want.attrs...), "%s %v\n%v", want.metric, want.attrs, got[want.metric])
	}
	require.Positive(t, sum(got["http.client.request.duration"], "http.response.status_code", "401", "error.type", "401"))
	require.Positive(t, sum(got["mcpoauth.store.operation.duration"], "mcpoauth.operation", "get", "mcpoauth.store.record", "session", "error.type", ""))
	requireBounded(t, got, id)
}

// requireBounded checks that labels have nothing of which there may be any number.
func requireBounded(t *testing.T, got map[string][]point, id string) {
	t.Helper()
	for name, points := range got {
		for _, p := range points {
			for key, value := range p.attrs {
				for _, secret := range []string{id, id[:26], owner, "canary", "look", "?", "http:"} {
					require.NotContains(t, value, secret, "%s %s", name, key)
				}
			}
		}
	}
}

func TestSpansOfAJourney(t *testing.T) {
	t.Parallel()
	w := newWorld(t, memstore.New(memstore.Config{}), otelsession.Config{}, mcptest.Options{})
	id := w.authorize(t, "")
	require.Equal(t, 200, w.call(t, id, "echo"))
	w.clock.Advance(2 * time.Hour)
	require.Equal(t, 200, w.call(t, id, "echo"))

	byID := make(map[string]sdktrace.ReadOnlySpan)
	for _, span := range w.spans.Ended() {
		byID[span.SpanContext().SpanID().String()] = span
	}
	// path is the names of a span and those around it.
	path := func(span sdktrace.ReadOnlySpan) (names []string) {
		for span != nil {
			names = append(names, span.Name())
			span = byID[span.Parent().SpanID().String()]
		}
		return names
	}
	var token, call []string
	for _, span := range w.spans.Ended() {
		for _, kv := range span.Attributes() {
			if kv.Value.String() == "refreshing the access token" {
				token = path(span)
			}
		}
		if span.Name() == "tools/call echo" {
			call = path(span)
		}
	}
	require.Equal(t, []string{"tools/call echo", "mcpoauth call_tool"}, call)
	require.Equal(t, []string{"POST", "mcpoauth refresh", "tools/call echo", "mcpoauth call_tool"}, token)

	// The servers got the context: in the header, and in _meta.
	sent := w.mcp.RPC("tools/call")[0]
	var params struct {
		Meta struct {
			Traceparent string `json:"traceparent"`
		} `json:"_meta"`
	}
	require.NoError(t, json.Unmarshal(sent.Params, &params))
	requireSpan(t, byID, params.Meta.Traceparent, "tools/call echo")
	requireSpan(t, byID, sent.Header.Get("Traceparent"), "POST")
	require.Equal(t, params.Meta.Traceparent[:35], sent.Header.Get("Traceparent")[:35], "one trace")
	for _, r := range w.as.Requests(authtest.EndpointToken) {
		requireSpan(t, byID, r.Header.Get("Traceparent"), "POST")
	}
}

func requireSpan(t *testing.T, byID map[string]sdktrace.ReadOnlySpan, traceparent, name string) {
	t.Helper()
	fields := strings.Split(traceparent, "-")
	require.Len(t, fields, 4, traceparent)
	span := byID[fields[2]]
	require.NotNil(t, span, traceparent)
	require.Equal(t, name, span.Name())
	require.Equal(t, span.SpanContext().TraceID().String(), fields[1])
}

func TestServersAreBounded(t *testing.T) {
	t.Parallel()
	reader := sdkmetric.NewManualReader()
	observer, err := otelsession.New(otelsession.Config{MaxServers: 2, MeterProvider: sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))})
	require.NoError(t, err)
	for _, server := range []string{"a.example", "b.example:8443", "c.example", "d.example", "a.example"} {
		_, end := observer.Start(t.Context(), oauthclient.Work{Kind: oauthclient.WorkMCP, Name: "ping", Server: server})
		end(oauthclient.Outcome{})
	}
	got := collect(t, reader)["mcp.client.operation.duration"]
	require.EqualValues(t, 2, sum(got, "server.address", "a.example"))
	require.EqualValues(t, 1, sum(got, "server.address", "b.example", "server.port", "8443"))
	require.EqualValues(t, 2, sum(got, "server.address", "_OTHER"))
	_, err = otelsession.New(otelsession.Config{MaxServers: -1})
	require.ErrorContains(t, err, "MaxServers")
}
