package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/store"
)

// Config configures a [Manager]. It is taken by value; changing it afterwards
// changes nothing. All replicas of a host need the same Store, SealKeys and
// Client.
type Config struct {
	// Store holds the records. Required.
	Store store.SessionStore

	// SealKeys encrypt the records (AES-256-GCM): 32 random bytes each. The
	// first seals, all open, so a new key is rolled out by adding it at the
	// end everywhere, then moving it to the front, and an old one is removed
	// when the records it sealed have expired. Required for a store that
	// outlives the process.
	SealKeys [][]byte
	// InsecurePlaintext stores records unencrypted in a durable store:
	// whoever reads the store can use the tokens. Defaults to false.
	InsecurePlaintext bool

	// Client is the template for every connection: registration choices,
	// policies, HTTP client, timeouts. ServerURL, CallbackURL, OnRedirect,
	// Credentials, Registrations, Attempts, Logger and Now must be left zero;
	// the Manager provides them.
	Client oauthclient.Config

	// TTL is the life of a session after its last use. Defaults to 24 hours.
	TTL time.Duration
	// AttemptTTL is the time a user has to authorize. Defaults to 10 minutes.
	AttemptTTL time.Duration
	// TouchInterval is how often use is written to the store at most.
	// Defaults to 5 minutes, at most a quarter of TTL.
	TouchInterval time.Duration
	// LockTTL is the lease for a refresh or registration in the store; it must
	// exceed twice Client.RequestTimeout. Defaults to 45 seconds.
	LockTTL time.Duration
	// IdleTimeout closes live clients that were not used for so long; the
	// session stays. Defaults to 15 minutes.
	IdleTimeout time.Duration
	// MaxLiveClients bounds the live clients of this Manager; the least
	// recently used is closed for a new one. Defaults to 10,000.
	MaxLiveClients int
	// MaxSessionsPerOwner bounds the sessions of one owner; it does not apply
	// to the empty owner. Defaults to 100.
	MaxSessionsPerOwner int

	// OnAuthorized, if set, is called after a user has authorized and the
	// tokens are stored, on the replica that got the callback. A chat back end
	// resumes the waiting tool call here. It must return soon.
	OnAuthorized func(ctx context.Context, info Info)
	// OnAuthorizationRequired, if set, is called when a user must authorize,
	// once per attempt, on the replica that noticed. It must return soon.
	OnAuthorizationRequired func(ctx context.Context, info Info, required *oauthclient.AuthorizationRequiredError)

	// Logger gets records without secrets. Defaults to none.
	Logger *slog.Logger
	// Now is the clock. Defaults to time.Now.
	Now func() time.Time
}

// withDefaults returns the config completed, or all mistakes at once.
func (c Config) withDefaults() (Config, error) {
	if err := c.validate(); err != nil {
		return c, err
	}
	setDefault(&c.TTL, 24*time.Hour)
	setDefault(&c.AttemptTTL, 10*time.Minute)
	setDefault(&c.TouchInterval, min(5*time.Minute, c.TTL/4))
	setDefault(&c.LockTTL, 45*time.Second)
	setDefault(&c.IdleTimeout, 15*time.Minute)
	setDefault(&c.MaxLiveClients, 10_000)
	setDefault(&c.MaxSessionsPerOwner, 100)
	c.TouchInterval = min(c.TouchInterval, c.TTL/4)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c, nil
}

func setDefault[T int | time.Duration](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

func (c Config) validate() error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("session: Config.%s: %s", field, fmt.Sprintf(format, args...)))
	}
	if c.Store == nil {
		bad("Store", "is required")
	}
	for i, key := range c.SealKeys {
		if len(key) != sealKeyLen {
			bad(fmt.Sprintf("SealKeys[%d]", i), "is %d bytes long, want %d", len(key), sealKeyLen)
		}
	}
	if c.Store != nil && len(c.SealKeys) == 0 && !c.InsecurePlaintext && !ephemeral(c.Store) {
		bad("SealKeys", "are required with a store that outlives the process; make one with: openssl rand -base64 32")
	}
	if len(c.SealKeys) > 0 && c.InsecurePlaintext {
		bad("InsecurePlaintext", "contradicts SealKeys")
	}
	if t := c.Client; t.ServerURL != "" || t.CallbackURL != "" || t.OnRedirect != nil || t.Credentials != nil || t.Registrations != nil || t.Attempts != nil || t.Logger != nil || t.Now != nil {
		bad("Client", "ServerURL, CallbackURL, OnRedirect, Credentials, Registrations, Attempts, Logger and Now are set by the Manager")
	}
	for name, d := range map[string]time.Duration{"TTL": c.TTL, "AttemptTTL": c.AttemptTTL, "TouchInterval": c.TouchInterval, "LockTTL": c.LockTTL, "IdleTimeout": c.IdleTimeout} {
		if d < 0 {
			bad(name, "must not be negative")
		}
	}
	if c.MaxLiveClients < 0 || c.MaxSessionsPerOwner < 0 {
		bad("MaxLiveClients, MaxSessionsPerOwner", "must not be negative")
	}
	return errors.Join(errs...)
}

// ephemeral tells whether a store's contents die with the process.
func ephemeral(s store.SessionStore) bool {
	e, ok := s.(store.Ephemeral)
	return ok && e.Ephemeral()
}
