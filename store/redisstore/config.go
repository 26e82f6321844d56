package redisstore

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
	// hide another replica's write: two quiet spells and one answer.
	defaultDialTimeout = time.Second
	defaultQuiet       = 250 * time.Millisecond
	defaultAnswer      = time.Second

	// topologyInterval is how often an own client compares what it knows with
	// its sentinels, in case it missed a failover.
	topologyInterval = 5 * time.Second
)

// Config configures a [Store]. Exactly one of Client, URL and ClientOption is
// needed. It is taken by value; changing it afterwards changes nothing.
type Config struct {
	// Client is a client that the host has and closes itself. It must read
	// from primaries only, which is rueidis's default, and its ConnWriteTimeout
	// and Dialer.KeepAlive bound how long a network that silently loses packets
	// can hide another replica's write; rueidis's defaults make that 12 s.
	Client rueidis.Client

	// URL is where Redis is, as [rueidis.ParseURL] reads it:
	//
	//	redis://user:password@host:6379/0
	//	rediss://host:6380                                    TLS
	//	redis://sentinel-1:26379?addr=sentinel-2:26379&master_set=name
	//	redis://node-1:6379?addr=node-2:6379                  cluster
	//
	// A cluster is recognized also from a single address.
	URL string

	// ClientOption is for what a URL cannot say: authorities of certificates,
	// rotating credentials, a dialer. It is set when its InitAddress is not
	// empty. PipelineMultiplex is not heeded; one connection per node carries
	// everything, in order.
	ClientOption rueidis.ClientOption

	// KeyPrefix begins every key in Redis: records are under "<prefix>v:", locks
	// under "<prefix>l:", counts under "<prefix>n:", and what begins with
	// "<prefix>epoch" is for [Store.Epoch]. Stores with different prefixes share
	// nothing, as long as neither prefix begins with the other. Defaults to
	// "mcpoauth:".
	KeyPrefix string

	// CacheTTL bounds how long Get may answer from its cache without asking
	// Redis again. Writes end it earlier, so this is a second line of defence.
	// Defaults to one minute.
	CacheTTL time.Duration

	// DisableCache has every Get ask Redis. It is not needed for a server, a
	// user or a Client that cannot have a cache kept up to date: New notices.
	// Defaults to false.
	DisableCache bool

	// OpTimeout bounds each operation, retries included, and each attempt at a
	// lock; the caller's context may end it earlier. An outage that is shorter
	// only makes an operation slow. Defaults to 3 s.
	OpTimeout time.Duration

	// RenewLocksFor has a held lock's lease renewed while its holder runs,
	// each time for its ttl, until it is unlocked, but no longer than this
	// from when it was granted. It departs from the contract of package store,
	// by which a lease lasts its ttl. Defaults to zero: no renewal.
	RenewLocksFor time.Duration

	// OnChange, if set, is called with the keys of records that were read
	// through this Store and have changed since, whoever changed them; with nil
	// when any of them may have, as after a lost connection. It is called on
	// the connection's goroutine, so it must be quick and not use the Store. It
	// cannot be combined with Client. Defaults to none.
	OnChange func(keys []string)

	// Logger gets a record when a server turns out not to support caching.
	// Defaults to none.
	Logger *slog.Logger
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
		bad("Client", "exactly one of Client, URL and ClientOption is needed")
	}
	if o := c.ClientOption; o.SendToReplicas != nil || o.ReplicaOnly ||
		o.ReadNodeSelector != nil || len(o.Standalone.ReplicaAddress) > 0 {
		bad("ClientOption", "replicas may lag behind, so reads must go to primaries")
	}
	if c.Client != nil && c.OnChange != nil {
		bad("OnChange", "cannot be had from a borrowed client")
	}
	if c.URL != "" {
		option, err := parseURL(c.URL)
		if err != nil {
			bad("URL", err.Error())
		}
		c.ClientOption = option
	}
	for _, d := range []struct {
		field string
		value time.Duration
	}{{"CacheTTL", c.CacheTTL}, {"OpTimeout", c.OpTimeout}, {"RenewLocksFor", c.RenewLocksFor}} {
		if d.value < 0 {
			bad(d.field, "is negative")
		}
	}
	if len(errs) > 0 {
		return c, errors.Join(errs...)
	}
	setDefault(&c.KeyPrefix, defaultKeyPrefix)
	setDefault(&c.CacheTTL, defaultCacheTTL)
	setDefault(&c.OpTimeout, defaultOpTimeout)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
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
func (c Config) connect() (client rueidis.Client, caching bool, err error) {
	client, caching = c.Client, !c.DisableCache
	if client == nil {
		client, caching, err = c.dial()
	}
	if err == nil {
		caching, err = c.probe(client, caching)
	}
	if err != nil {
		if client != nil && c.Client == nil {
			client.Close()
		}
		if errors.Is(err, context.DeadlineExceeded) {
			err = os.ErrDeadlineExceeded // there is no caller's context
		}
		return nil, false, fmt.Errorf("redisstore: connecting: %w", withoutContents(err))
	}
	return client, caching, nil
}

// dial makes a client of the store's own. On a server without client-side
// caching it makes one that does without.
func (c Config) dial() (client rueidis.Client, caching bool, err error) {
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
	if c.OnChange != nil {
		option.OnInvalidations = c.invalidations(option.OnInvalidations)
	}
	client, err = rueidis.NewClient(option)
	if errors.Is(err, rueidis.ErrNoCache) {
		c.Logger.Warn(noCaching)
		option.DisableCache = true
		client, err = rueidis.NewClient(option)
	}
	return client, !option.DisableCache, err
}

// invalidations turns Redis's keys into ours. next is the host's own hook.
func (c Config) invalidations(next func([]rueidis.RedisMessage)) func([]rueidis.RedisMessage) {
	return func(names []rueidis.RedisMessage) {
		if next != nil {
			next(names)
		}
		if names == nil {
			c.OnChange(nil)
			return
		}
		keys := make([]string, 0, len(names))
		for _, name := range names {
			text, _ := name.ToString()
			if key, ok := strings.CutPrefix(text, c.KeyPrefix+recordSpace); ok {
				keys = append(keys, key)
			}
		}
		c.OnChange(keys)
	}
}

const noCaching = "redisstore: no client-side caching with this server, user or client; every read will ask the server"

// probe asks for what every cached read asks for first, and whose refusal
// would go unnoticed then: that Redis remembers who has read what.
func (c Config) probe(client rueidis.Client, caching bool) (bool, error) {
	ctx, cancel := context.WithTimeout(context.Background(), c.OpTimeout)
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
