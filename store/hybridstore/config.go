package hybridstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/internal/redis"
	"github.com/mcpoauth/mcpoauth/store/memstore"
	"github.com/mcpoauth/mcpoauth/store/redisstore"
)

const (
	defaultMaxEntries = 100_000
	defaultMaxBytes   = 128 << 20
	defaultOpTimeout  = time.Second

	// How the pause between attempts to reach Redis grows.
	firstRetry = 50 * time.Millisecond
	lastRetry  = 2 * time.Second

	// checkInterval is the time between health checks of a connection.
	checkInterval = 5 * time.Second
)

// Config configures a [Store]. It is taken by value; changing it afterwards
// changes nothing. A negative limit is an error, zero stands for the default.
type Config struct {
	// Redis says where Redis is; see package redisstore. With neither URL nor
	// ClientOption the store is in memory only. Client must be left nil.
	// OpTimeout, by which an outage is noticed, defaults to 1 s here.
	Redis redisstore.Config

	// MaxEntries bounds how many records the store remembers. Records that it
	// creates while Redis is away count too. In memory only, it is
	// memstore.Config.MaxEntries. Defaults to 100,000.
	MaxEntries int

	// MaxBytes bounds what the store remembers, in bytes of keys and values and
	// about 300 bytes for each record. It has no effect in memory only.
	// Defaults to 128 MiB.
	MaxBytes int64

	// OnlyReplica says that no other process uses the same Redis and key prefix.
	// The store then changes and locks every record that it remembers while
	// Redis is away. With two replicas, both may spend the same refresh token,
	// which an authorization server takes for theft. Defaults to false: records
	// from before an outage are read-only during it.
	OnlyReplica bool

	// Logger gets the ✅, ⚠️ and ❌ lines. Defaults to slog.Default().
	Logger *slog.Logger
}

// Format implements [fmt.Formatter], because of the passwords in it.
func (c Config) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("hybridstore.Config")) }

// withDefaults returns the config completed, or all mistakes at once.
func (c Config) withDefaults() (Config, error) {
	var errs []error
	if c.Redis.Client != nil {
		errs = append(errs, &configError{"hybridstore: Config.Redis: Client cannot be set"})
	}
	for _, limit := range []struct {
		field string
		value int64
	}{
		{"MaxEntries", int64(c.MaxEntries)}, {"MaxBytes", c.MaxBytes},
		{"Redis.CacheTTL", int64(c.Redis.CacheTTL)}, {"Redis.OpTimeout", int64(c.Redis.OpTimeout)}, {"Redis.MaxValueBytes", int64(c.Redis.MaxValueBytes)},
	} {
		if limit.value < 0 {
			errs = append(errs, &configError{"hybridstore: Config." + limit.field + ": is negative"})
		}
	}
	if c.MaxEntries == 0 {
		c.MaxEntries = defaultMaxEntries
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = defaultMaxBytes
	}
	if c.Redis.OpTimeout == 0 {
		c.Redis.OpTimeout = defaultOpTimeout
	}
	if c.Redis.MaxValueBytes == 0 {
		c.Redis.MaxValueBytes = store.DefaultMaxValueBytes
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c, errors.Join(errs...)
}

// inMemory reports whether there is no Redis.
func (c Config) inMemory() bool {
	return c.Redis.URL == "" && len(c.Redis.ClientOption.InitAddress) == 0
}

// Open returns a store on the Redis server at redisURL, which keeps working
// while that is away, or one in memory if redisURL is empty. It waits for the
// first attempt to connect, or until ctx ends. A bad URL and refused
// credentials are errors; a Redis that is not there is a warning in the log.
func Open(ctx context.Context, redisURL string) (*Store, error) {
	return New(ctx, Config{Redis: redisstore.Config{URL: redisURL}})
}

// New is [Open] with everything that can be configured.
func New(ctx context.Context, cfg Config) (*Store, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Store{
		cfg:       cfg,
		log:       cfg.Logger,
		local:     memstore.New(memstore.Config{MaxEntries: cfg.MaxEntries, MaxValueBytes: cfg.Redis.MaxValueBytes}),
		wakeUp:    make(chan struct{}, 1),
		memory:    newMemory(cfg.MaxEntries, cfg.MaxBytes),
		leases:    make(map[string]*lease),
		holders:   make(map[string]*lease),
		replaying: make(map[string]chan struct{}),
	}
	s.background, s.stop = context.WithCancel(context.Background())
	if cfg.inMemory() {
		s.log.Warn("⚠️ no Redis configured: sessions are in this process only")
		return s, nil
	}
	if err := s.start(ctx); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// start runs the connection and waits for the outcome of the first attempt.
func (s *Store) start(ctx context.Context) error {
	first := make(chan error, 1)
	s.work.Go(func() { s.run(first) })
	select {
	case err := <-first:
		if err == nil {
			return nil
		}
		if redis.IsOutage(err) {
			s.log.Warn("⚠️ Redis is not there: starting with memory, and trying again", "error", err)
			return nil
		}
		return fmt.Errorf("hybridstore: %w", err)
	case <-ctx.Done():
		return fmt.Errorf("hybridstore: connecting: %w", ctx.Err())
	}
}

// configError is a mistake in a Config; it matches [store.ErrInvalid].
type configError struct{ text string }

func (e *configError) Error() string { return e.text }

func (e *configError) Unwrap() error { return store.ErrInvalid }
