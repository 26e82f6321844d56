// Server is a small but complete host: it serves the library's endpoints
// under /api/mcp, GET /healthz (the process runs) and GET /readyz (the store, the
// keys and the clock are good). Copy it, and add your own routes.
//
//	go run ./examples/server
//
// It is configured by environment variables, all optional:
//
//	ADDR                     where to listen; 127.0.0.1:3000
//	PUBLIC_URL               the base URL that browsers use; http://$ADDR
//	DATABASE_URL             a store in a database: postgres://user:password@host/db,
//	                         which all replicas share, or sqlite:path, a file with
//	                         which one process survives its restart
//	REDIS_URL                a store in Redis that all replicas share. While Redis
//	                         is away, the host works from memory. With neither
//	                         variable the store is memory
//	MCPOAUTH_SEAL_KEYS       keys that encrypt the sessions in the store: base64
//	                         of 32 bytes each (openssl rand -base64 32),
//	                         separated by commas; the first one seals, all open.
//	                         Required with DATABASE_URL and REDIS_URL
//	MCPOAUTH_RATE_LIMIT      requests per minute and caller, for each of connects,
//	                         callbacks and all others; 0: no limits; none: the
//	                         library's defaults
//	TRUSTED_PROXIES          networks of the reverse proxies before it, such as
//	                         10.0.0.0/8,fd00::/8; X-Forwarded-For is believed from
//	                         them alone
//	MCPOAUTH_CONFIG          a JSON file with clients that were registered by hand,
//	                         the URL of a client metadata document, and policies
//	                         for servers that deviate; see config.go
//	LOG_LEVEL                debug, info, warn or error; info
//	MCPOAUTH_ALLOW_LOOPBACK  1 for development: MCP servers on loopback, and http
//	                         there; all other protections stay
//
// It stops on SIGINT and SIGTERM, after the requests that are in progress.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
	"github.com/mcpoauth/mcpoauth/store"
)

// After a signal, requests may go on for drainTimeout, and then have
// answerTimeout to end. Orchestrators usually kill after 30 seconds.
const (
	drainTimeout  = 10 * time.Second
	answerTimeout = 5 * time.Second
)

func main() {
	level, levelErr := logLevel(os.Getenv("LOG_LEVEL"))
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal kills
	err := levelErr
	if err == nil {
		err = run(ctx, logger)
	}
	if err != nil {
		logger.Error(err.Error())
		os.Exit(1)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, logger *slog.Logger) error {
	sessions, variable, closeStore, err := openStore(ctx, logger)
	if err != nil {
		return err
	}
	defer closeStore()
	manager, err := newManager(logger, sessions, variable)
	if err != nil {
		return err
	}
	defer manager.Close() // after the last request

	addr := cmp.Or(os.Getenv("ADDR"), "127.0.0.1:3000")
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("ADDR: %w", err)
	}
	defer listener.Close()
	cfg := httpapi.Config{
		PublicURL: cmp.Or(os.Getenv("PUBLIC_URL"), "http://"+addr),
		Logger:    logger,
		// Identify: who is signed in? A host with users of its own sets it;
		// without it a session ID alone gives the session.
	}
	if err := setLimits(&cfg); err != nil {
		return err
	}
	mcp, err := httpapi.New(manager, cfg)
	if err != nil {
		return fmt.Errorf("PUBLIC_URL (default http://$ADDR): %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("/api/mcp/", mcp)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", readyz(logger, manager))

	// No WriteTimeout, which would end long tool calls: the library bounds those,
	// and the writing of event streams, itself.
	server := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	logger.Info("listening", "addr", listener.Addr().String(), "callback", mcp.CallbackURL())
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	logger.Info("stopping")
	closing := time.AfterFunc(drainTimeout, func() { _ = manager.Close() }) // ends what is left, with an answer
	defer closing.Stop()
	bound, cancel := context.WithTimeout(context.Background(), drainTimeout+answerTimeout)
	defer cancel()
	if err := server.Shutdown(bound); err != nil {
		logger.Warn("requests are cut off", "error", err)
		_ = server.Close()
	}
	return nil
}

// setLimits reads what has to do with rate limits.
func setLimits(cfg *httpapi.Config) error {
	if value := os.Getenv("MCPOAUTH_RATE_LIMIT"); value != "" {
		limit, err := strconv.ParseUint(value, 10, 31)
		if err != nil {
			return errors.New("MCPOAUTH_RATE_LIMIT: must be a number of requests per minute, or 0 for no limits")
		}
		perMinute := int(limit)
		if perMinute == 0 {
			perMinute = -1 // to package httpapi, 0 is the default
		}
		cfg.ConnectsPerMinute, cfg.CallbacksPerMinute, cfg.RequestsPerMinute = perMinute, perMinute, perMinute
	}
	if value := os.Getenv("TRUSTED_PROXIES"); value != "" {
		for _, entry := range strings.Split(value, ",") {
			network, err := netip.ParsePrefix(strings.TrimSpace(entry))
			if err != nil {
				return fmt.Errorf("TRUSTED_PROXIES: %w", err)
			}
			cfg.TrustedProxies = append(cfg.TrustedProxies, network)
		}
	}
	return nil
}

// newManager makes the session manager. variable names the store, and is empty
// for memory.
func newManager(logger *slog.Logger, sessions store.SessionStore, variable string) (*session.Manager, error) {
	keys, err := session.ParseSealKeys(os.Getenv("MCPOAUTH_SEAL_KEYS"))
	if err != nil {
		return nil, fmt.Errorf("MCPOAUTH_SEAL_KEYS: %w", err)
	}
	if len(keys) == 0 && variable != "" {
		return nil, errors.New("MCPOAUTH_SEAL_KEYS: is required with " + variable + "; make a key with: openssl rand -base64 32")
	}
	cfg := session.Config{Store: sessions, SealKeys: keys, Logger: logger}
	if err := loadConfig(os.Getenv("MCPOAUTH_CONFIG"), &cfg.Client); err != nil {
		return nil, fmt.Errorf("MCPOAUTH_CONFIG: %w", err)
	}
	switch os.Getenv("MCPOAUTH_ALLOW_LOOPBACK") {
	case "", "0":
	case "1":
		cfg.Client.Transport = oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowLoopback: true})
	default:
		return nil, errors.New("MCPOAUTH_ALLOW_LOOPBACK: must be 1, 0 or empty")
	}
	return session.New(cfg)
}
