package redis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/mcpoauth/mcpoauth/store"
)

const (
	defaultKeyPrefix = "mcpoauth:"
	defaultCacheTTL  = time.Minute
	defaultOpTimeout = 3 * time.Second

	// What an own connection may take to be made, how long it may be quiet
	// before it is tried with a PING, and how long the answer may take.
	// Together they bound how long a network that silently loses packets can
	// hide another replica's write: two quiet spells and one answer. An idle
	// connection costs Redis one PING per quiet spell.
	defaultDialTimeout = time.Second
	defaultQuiet       = time.Second
	defaultAnswer      = time.Second

	// topologyInterval is how often an own client compares what it knows with
	// its sentinels, in case it missed a failover.
	topologyInterval = 5 * time.Second
)

// Config is redisstore.Config, which says what the fields mean; one converts to
// the other.
type Config struct {
	Client        rueidis.Client
	URL           string
	ClientOption  rueidis.ClientOption
	KeyPrefix     string
	CacheTTL      time.Duration
	DisableCache  bool
	OpTimeout     time.Duration
	MaxValueBytes int
	Logger        *slog.Logger
}

// Format implements [fmt.Formatter], because of the passwords in it.
func (c Config) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("redisstore.Config")) }

// withDefaults returns the config completed, or all mistakes at once.
func (c Config) withDefaults() (Config, error) {
	var errs []error
	bad := func(field, text string) {
		errs = append(errs, &configError{"redisstore: Config." + field + ": " + text})
	}
	sources := 0
	for _, given := range []bool{c.Client != nil, c.URL != "", len(c.ClientOption.InitAddress) > 0} {
		if given {
			sources++
		}
	}
	if sources != 1 {
		errs = append(errs, &configError{"redisstore: Config: exactly one of Client, URL and ClientOption is needed"})
	}
	if o := c.ClientOption; o.SendToReplicas != nil || o.ReplicaOnly ||
		o.ReadNodeSelector != nil || len(o.Standalone.ReplicaAddress) > 0 {
		bad("ClientOption", "replicas may lag behind, so reads must go to primaries")
	}
	if c.URL != "" {
		option, err := parseURL(c.URL)
		if err != nil {
			bad("URL", err.Error())
		}
		c.ClientOption = option
	}
	for _, limit := range []struct {
		field string
		value int64
	}{{"CacheTTL", int64(c.CacheTTL)}, {"OpTimeout", int64(c.OpTimeout)}, {"MaxValueBytes", int64(c.MaxValueBytes)}} {
		if limit.value < 0 {
			bad(limit.field, "is negative")
		}
	}
	if len(errs) > 0 {
		return c, errors.Join(errs...)
	}
	setDefault(&c.KeyPrefix, defaultKeyPrefix)
	setDefault(&c.CacheTTL, defaultCacheTTL)
	setDefault(&c.OpTimeout, defaultOpTimeout)
	setDefault(&c.MaxValueBytes, store.DefaultMaxValueBytes)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c, nil
}

// configError is a mistake in a Config; it matches [store.ErrInvalid].
type configError struct{ text string }

func (e *configError) Error() string { return e.text }

func (e *configError) Unwrap() error { return store.ErrInvalid }

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// parseURL reads a URL. Its errors say which part is wrong and never quote it:
// a URL may contain a password, also where no parser expects one.
func parseURL(text string) (rueidis.ClientOption, error) {
	u, err := url.Parse(text)
	if err != nil {
		return rueidis.ClientOption{}, errors.New("cannot be parsed; reserved characters in a password are to be percent-encoded")
	}
	switch u.Scheme {
	case "redis", "rediss", "valkey", "valkeys":
		if u.Hostname() == "" {
			return rueidis.ClientOption{}, errors.New("names no host; want something like redis://localhost:6379")
		}
	case "unix":
	default:
		return rueidis.ClientOption{}, errors.New("the scheme is none of redis, rediss, valkey, valkeys and unix")
	}
	option, err := rueidis.ParseURL(text)
	if err != nil {
		return rueidis.ClientOption{}, errors.New("the database number or a parameter is not valid")
	}
	return option, nil
}

// connect returns a client that has got an answer, and whether its cache works.
func (c Config) connect(ctx context.Context, onChange func(keys []string)) (client rueidis.Client, caching bool, err error) {
	client, caching = c.Client, !c.DisableCache
	if client == nil {
		client, caching, err = c.dial(ctx, onChange)
	}
	if err == nil {
		caching, err = c.probe(ctx, client, caching)
	}
	if err != nil {
		if client != nil && c.Client == nil {
			client.Close()
		}
		if cause := ctx.Err(); cause != nil {
			err = cause
		} else if errors.Is(err, context.DeadlineExceeded) {
			err = os.ErrDeadlineExceeded // it was not the caller's
		}
		return nil, false, fmt.Errorf("redisstore: connecting: %w", withoutContents(err))
	}
	return client, caching, nil
}

// dial makes a client of the store's own. On a server without client-side
// caching it makes one that does without.
//
// rueidis dials without a context. If ctx ends first, dial returns, and closes
// what the dialling still gives.
func (c Config) dial(ctx context.Context, onChange func(keys []string)) (client rueidis.Client, caching bool, err error) {
	if err := ctx.Err(); err != nil {
		return nil, false, err
	}
	type dialled struct {
		client  rueidis.Client
		caching bool
		err     error
	}
	done := make(chan dialled, 1)
	go func() {
		option := c.option(onChange)
		client, err := rueidis.NewClient(option)
		if errors.Is(err, rueidis.ErrNoCache) {
			c.Logger.Warn(noCaching)
			option.DisableCache = true
			client, err = rueidis.NewClient(option)
		}
		done <- dialled{client, !option.DisableCache, err}
	}()
	select {
	case d := <-done:
		return d.client, d.caching, d.err
	case <-ctx.Done():
		go func() {
			if d := <-done; d.err == nil {
				d.client.Close()
			}
		}()
		return nil, false, ctx.Err()
	}
}

// option is what the store's own client is made with.
func (c Config) option(onChange func(keys []string)) rueidis.ClientOption {
	option := c.ClientOption
	setDefault(&option.Dialer.Timeout, min(defaultDialTimeout, c.OpTimeout))
	setDefault(&option.Dialer.KeepAlive, defaultQuiet)
	setDefault(&option.ConnWriteTimeout, defaultAnswer)
	setDefault(&option.Sentinel.Dialer.Timeout, option.Dialer.Timeout)
	setDefault(&option.Sentinel.TopologyRefreshInterval, topologyInterval)
	// One connection per node, see Store.send, that is always read from, so
	// that ended contexts and lost connections are noticed at once.
	option.PipelineMultiplex = -1
	option.DisableAutoPipelining = false
	option.AlwaysPipelining = true
	option.DisableCache = option.DisableCache || c.DisableCache
	option.OnInvalidations = c.invalidations(onChange, option.OnInvalidations)
	return option
}

// invalidations turns Redis's keys into ours. next is the host's own hook.
func (c Config) invalidations(onChange func(keys []string), next func([]rueidis.RedisMessage)) func([]rueidis.RedisMessage) {
	return func(names []rueidis.RedisMessage) {
		if next != nil {
			next(names)
		}
		if names == nil {
			onChange(nil)
			return
		}
		keys := make([]string, 0, len(names))
		for _, name := range names {
			text, _ := name.ToString()
			if key, ok := strings.CutPrefix(text, c.KeyPrefix+recordSpace); ok {
				keys = append(keys, key)
			}
		}
		onChange(keys)
	}
}

const noCaching = "redisstore: no client-side caching with this server, user or client; every read will ask the server"

// probe sends the first command of every cached read, CLIENT CACHING, because a cached
// read would not notice that Redis refuses it.
func (c Config) probe(ctx context.Context, client rueidis.Client, caching bool) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, c.OpTimeout)
	defer cancel()
	if !caching {
		return false, client.Do(ctx, client.B().Ping().Build()).NonRedisError()
	}
	err := client.Do(ctx, client.B().ClientCaching().Yes().Build()).Error()
	if _, refused := rueidis.IsRedisErr(err); refused {
		c.Logger.Warn(noCaching)
		return false, nil
	}
	return true, err
}
