package otelsession

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// metrics are the instruments.
type metrics struct {
	durations map[oauthclient.WorkKind]metric.Float64Histogram
	active    metric.Int64UpDownCounter
	begun     metric.Int64Counter
	misses    metric.Int64Counter

	maxServers int
	mu         sync.RWMutex
	servers    map[string]bool
}

var (
	// The buckets that the semantic conventions advise for MCP, and for HTTP, in
	// seconds.
	mcpBuckets  = metric.WithExplicitBucketBoundaries(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300)
	httpBuckets = metric.WithExplicitBucketBoundaries(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
	// storeBuckets begin where a cache answers.
	storeBuckets = metric.WithExplicitBucketBoundaries(0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5)
)

func newMetrics(cfg Config) (*metrics, error) {
	meter := cfg.MeterProvider.Meter(scope)
	m := &metrics{durations: make(map[oauthclient.WorkKind]metric.Float64Histogram), maxServers: cfg.MaxServers, servers: make(map[string]bool)}
	var errs []error
	for _, d := range []struct {
		kind        oauthclient.WorkKind
		name        string
		description string
		buckets     metric.HistogramOption
	}{
		{oauthclient.WorkMCP, "mcp.client.operation.duration", "Duration of MCP requests, from the request until the response.", mcpBuckets},
		{oauthclient.WorkHTTP, "http.client.request.duration", "Duration of HTTP requests, until the header of the answer.", httpBuckets},
		{oauthclient.WorkEndpoint, "mcpoauth.endpoint.duration", "Duration of requests to the endpoints.", mcpBuckets},
		{oauthclient.WorkSession, "mcpoauth.session.operation.duration", "Duration of connecting, finishing an authorization and disconnecting.", mcpBuckets},
		{oauthclient.WorkRefresh, "mcpoauth.refresh.duration", "Duration of refreshes of access tokens.", httpBuckets},
		{oauthclient.WorkStore, "mcpoauth.store.operation.duration", "Duration of operations of the session store.", storeBuckets},
	} {
		h, err := meter.Float64Histogram(d.name, metric.WithUnit("s"), metric.WithDescription(d.description), d.buckets)
		m.durations[d.kind], errs = h, append(errs, err)
	}
	var err error
	m.active, err = meter.Int64UpDownCounter("mcpoauth.endpoint.active_requests", metric.WithUnit("{request}"), metric.WithDescription("Requests to the endpoints that are served now."))
	errs = append(errs, err)
	m.begun, err = meter.Int64Counter("mcpoauth.authorization.begun", metric.WithUnit("{attempt}"), metric.WithDescription("Authorization attempts that were begun, by reason."))
	errs = append(errs, err)
	m.misses, err = meter.Int64Counter("mcpoauth.session.cache.misses", metric.WithUnit("{record}"), metric.WithDescription("Session records that were not in the replica's cache."))
	errs = append(errs, err)
	if cfg.RedisConnected != nil {
		_, err = meter.Int64ObservableGauge("mcpoauth.redis.connected", metric.WithUnit("1"), metric.WithDescription("1 while Redis is connected, otherwise 0."),
			metric.WithInt64Callback(func(_ context.Context, o metric.Int64Observer) error {
				o.Observe(map[bool]int64{true: 1}[cfg.RedisConnected()])
				return nil
			}))
		errs = append(errs, err)
	}
	return m, errors.Join(errs...)
}

// begin counts work that is in progress.
func (m *metrics) begin(ctx context.Context, work oauthclient.Work) {
	if work.Kind == oauthclient.WorkEndpoint {
		m.active.Add(ctx, 1, metric.WithAttributes(endpointName.String(work.Name)))
	}
}

// end records work that has ended.
func (m *metrics) end(ctx context.Context, work oauthclient.Work, out oauthclient.Outcome, took time.Duration) {
	switch work.Kind {
	case oauthclient.WorkAuthorization:
		m.begun.Add(ctx, 1, metric.WithAttributes(reason(out)))
		return
	case oauthclient.WorkDecode:
		m.misses.Add(ctx, 1)
		return
	case oauthclient.WorkEndpoint:
		m.active.Add(ctx, -1, metric.WithAttributes(endpointName.String(work.Name)))
	}
	attrs := append(metricAttributes(work), outcomeAttributes(work, out)...)
	attrs = append(attrs, m.server(work.Server)...)
	m.durations[work.Kind].Record(ctx, took.Seconds(), metric.WithAttributes(attrs...))
}

// server returns the attributes of a server, or of all others when there are
// maxServers.
func (m *metrics) server(host string) []attribute.KeyValue {
	if host == "" {
		return nil
	}
	m.mu.RLock()
	known, full := m.servers[host], len(m.servers) >= m.maxServers
	m.mu.RUnlock()
	if !known {
		if full {
			return []attribute.KeyValue{serverHost.String("_OTHER")}
		}
		m.mu.Lock()
		if len(m.servers) < m.maxServers {
			m.servers[host] = true
		}
		known = m.servers[host]
		m.mu.Unlock()
		if !known {
			return []attribute.KeyValue{serverHost.String("_OTHER")}
		}
	}
	return server(host)
}
