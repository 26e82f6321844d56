package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
	"github.com/mcpoauth/mcpoauth/store/hybridstore"
)

// The environment of a host, as in examples/server. All replicas get the same,
// their own address aside.
const (
	envAddr      = "ADDR"
	envPublicURL = "PUBLIC_URL"
	envRedisURL  = "REDIS_URL"
	envSealKey   = "MCPOAUTH_SEAL_KEYS"
)

// serveHost is one replica: the library on Redis, until ctx or its standard
// input ends. It prints the address that it listens on.
func serveHost(ctx context.Context, stdout io.Writer) error {
	keys, err := session.ParseSealKeys(os.Getenv(envSealKey)) // the same on all replicas, made once
	if err != nil {
		return fmt.Errorf("%s: %w", envSealKey, err)
	}
	// While Redis is away for longer than a second, this store goes on in
	// memory. A host that prefers an error uses redisstore.New instead.
	sessions, err := hybridstore.Open(ctx, os.Getenv(envRedisURL))
	if err != nil {
		return fmt.Errorf("%s: %w", envRedisURL, err)
	}
	defer sessions.Close()

	cfg := session.Config{Store: sessions, SealKeys: keys}
	// The MCP server of this example is on loopback, which is refused otherwise.
	cfg.Client.Transport = oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowLoopback: true})
	manager, err := session.New(cfg)
	if err != nil {
		return err
	}
	defer manager.Close() // before the store, which it still uses

	// The address that browsers use is the load balancer's, on all replicas.
	api, err := httpapi.New(manager, httpapi.Config{
		PublicURL: os.Getenv(envPublicURL),
		// All users of this example are at one address, and in a hurry.
		ConnectsPerMinute: -1, CallbacksPerMinute: -1, RequestsPerMinute: -1, MaxRequestsInFlight: -1,
	})
	if err != nil {
		return fmt.Errorf("%s: %w", envPublicURL, err)
	}
	listener, err := net.Listen("tcp", cmp.Or(os.Getenv(envAddr), "127.0.0.1:0"))
	if err != nil {
		return fmt.Errorf("%s: %w", envAddr, err)
	}
	server := &http.Server{Handler: api, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // ends with the process that started this one
		_ = server.Close()
	}()
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	_, _ = fmt.Fprintln(stdout, listener.Addr())
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
