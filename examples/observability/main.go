// Observability is a host whose metrics Prometheus reads and whose dashboard
// Grafana shows: it serves the library's endpoints under /api/mcp, and GET
// /metrics.
//
//	go run ./examples/observability
//
// It listens on ADDR (127.0.0.1:3000), and keeps its sessions in memory, or in
// Redis with REDIS_URL and MCPOAUTH_SEAL_KEYS as examples/server does.
// MCPOAUTH_ALLOW_LOOPBACK=1 allows MCP servers on loopback, for a first try.
//
// prometheus.yml is the configuration of a Prometheus that reads /metrics, and
// dashboard.json is to be imported into Grafana. In production, serve /metrics on
// an address of its own: it names the servers that your users use.
package main

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/sdk/metric"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
	"github.com/mcpoauth/mcpoauth/session/otelsession"
	"github.com/mcpoauth/mcpoauth/store/hybridstore"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		slog.Error(err.Error())
		os.Exit(1)
	}
}

// run serves until ctx ends.
func run(ctx context.Context) error {
	sessions, err := hybridstore.Open(ctx, os.Getenv("REDIS_URL"))
	if err != nil {
		return err
	}
	defer sessions.Close()
	keys, err := session.ParseSealKeys(os.Getenv("MCPOAUTH_SEAL_KEYS"))
	if err != nil {
		return err
	}
	cfg := session.Config{Store: sessions, SealKeys: keys, Audit: audit}
	if os.Getenv("MCPOAUTH_ALLOW_LOOPBACK") == "1" {
		cfg.Client.Transport = oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowLoopback: true})
	}
	addr := cmp.Or(os.Getenv("ADDR"), "127.0.0.1:3000")
	handler, closeHost, err := newHost(cfg, "http://"+addr, sessions.IsRedisConnected)
	if err != nil {
		return err
	}
	defer closeHost()
	server := &http.Server{Addr: addr, Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.ListenAndServe() }()
	slog.Info("listening", "addr", addr)
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	bound, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	return server.Shutdown(bound)
}

// newHost returns the endpoints and /metrics, and what closes the host after the
// last request.
func newHost(cfg session.Config, publicURL string, redisConnected func() bool) (handler http.Handler, closeHost func(), err error) {
	registry := prometheus.NewRegistry()
	exporter, err := otelprometheus.New(otelprometheus.WithRegisterer(registry))
	if err != nil {
		return nil, nil, err
	}
	provider := metric.NewMeterProvider(metric.WithReader(exporter))
	observer, err := otelsession.New(otelsession.Config{MeterProvider: provider, RedisConnected: redisConnected})
	if err != nil {
		return nil, nil, err
	}
	cfg.Observer = observer
	manager, err := session.New(cfg)
	if err != nil {
		return nil, nil, err
	}
	api, err := httpapi.New(manager, httpapi.Config{PublicURL: publicURL})
	if err != nil {
		return nil, nil, errors.Join(err, manager.Close())
	}
	mux := http.NewServeMux()
	mux.Handle("/api/mcp/", api)
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	return mux, func() { _ = manager.Close() }, nil
}

// audit writes who did what. A host in production writes it to where it is kept.
func audit(ctx context.Context, event session.AuditEvent) {
	slog.InfoContext(ctx, "audit", "event", event)
}
