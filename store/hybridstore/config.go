package hybridstore

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/memstore"
	"github.com/mcpoauth/mcpoauth/store/redisstore"
)

const (
	defaultMaxEntries = 100_000
	defaultOpTimeout  = time.Second

	defaultLockPatience = 10 * time.Second

	// How the pause between attempts to reach Redis grows.
	firstRetry = 50 * time.Millisecond
	lastRetry  = 2 * time.Second

	// roundTrips bounds how many records are sent or read at a time when Redis
	// is back.
	roundTrips = 64

	// checkInterval is how often a quiet connection is tried.
	checkInterval = time.Second

	// lastRound is in which round of replaying, each of which leaves the changes
	// that were made during it, no more of them are let in.
	lastRound = 4

	// newsBacklog bounds how many changes made elsewhere are yet to be read.
	// What does not fit is read when it is needed.
	newsBacklog = 1024
)

// Config configures a [Store]. It is taken by value; changing it afterwards
// changes nothing.
type Config struct {
	// Redis says where Redis is; see package redisstore. With neither URL nor
	// ClientOption the store is in memory only. Client and OnChange must be
	// left zero, and OpTimeout, by which an outage is noticed, defaults to 1 s
	// here.
	Redis redisstore.Config

	// MaxEntries bounds what is remembered of Redis, and what can be created
	// while it is away: records and tombstones together. In memory only, it is
	// memstore.Config.MaxEntries. Defaults to 100,000.
	MaxEntries int

	// LockPatience is how long after the beginning of an outage Lock waits for
	// Redis to come back: for that long, a refresh that becomes due in a restart
	// or failover is late rather than an error. Negative is not at all.
	// Defaults to 10 s.
	LockPatience time.Duration

	// LocalLocks has Lock, when LockPatience is over, exclude this replica's
	// callers only, where it otherwise is an error because other replicas may
	// have the record, too. It is for hosts with a single replica, which then
	// refresh tokens however long Redis is away. With more, two of them may use
	// up the same refresh token, which an authorization server takes for theft
	// and its user pays for with an authorization. Defaults to false.
	LocalLocks bool

	// Logger gets the ✅, ⚠️ and ❌ lines. Defaults to slog.Default().
	Logger *slog.Logger
}

// Format implements [fmt.Formatter], because of the passwords in it.
func (c Config) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("hybridstore.Config")) }

// withDefaults returns the config completed.
func (c Config) withDefaults() Config {
	if c.MaxEntries < 1 {
		c.MaxEntries = defaultMaxEntries
	}
	if c.Redis.OpTimeout == 0 {
		c.Redis.OpTimeout = defaultOpTimeout
	}
	if c.LockPatience == 0 {
		c.LockPatience = defaultLockPatience
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// inMemory tells whether there is no Redis.
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
	cfg = cfg.withDefaults()
	if cfg.Redis.Client != nil || cfg.Redis.OnChange != nil {
		return nil, &configError{"hybridstore: Config.Redis: Client and OnChange cannot be set"}
	}
	s := &Store{
		cfg:    cfg,
		log:    cfg.Logger,
		local:  memstore.New(memstore.Config{MaxEntries: cfg.MaxEntries}),
		memory: newMemory(cfg.MaxEntries),
		busy:   make(map[string]int),
		news:   make(chan string, newsBacklog),
		kick:   make(chan struct{}, 1),
		outage: newOutage(time.Time{}),
	}
	s.background, s.stop = context.WithCancel(context.Background())
	if cfg.inMemory() {
		s.log.Warn("⚠️ no Redis configured: sessions are in this process only")
		return s, nil
	}
	s.cfg.Redis.OnChange = s.onChange
	if err := s.start(ctx); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// start runs the connection and waits for the first attempt's outcome.
func (s *Store) start(ctx context.Context) error {
	first := make(chan error, 1)
	s.work.Go(func() { s.run(first) })
	s.work.Go(s.readNews)
	select {
	case err := <-first:
		if err == nil {
			return nil
		}
		if redisstore.IsOutage(err) {
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
