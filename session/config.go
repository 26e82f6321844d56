package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/modelcontextprotocol/go-sdk/oauthex"

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
	// Credentials, Registrations, Attempts, AttemptTTL, Logger and Now must be
	// left zero; the Manager provides them.
	Client oauthclient.Config

	// TTL is the life of a session after its last use. Defaults to 24 hours.
	TTL time.Duration
	// AttemptTTL is the time a user has to authorize. Defaults to 10 minutes.
	AttemptTTL time.Duration
	// TouchInterval is how often use is written to the store at most.
	// Defaults to 5 minutes, at most a quarter of TTL.
	TouchInterval time.Duration
	// LockTTL is the lease for a refresh or registration in the store; it must
	// exceed twice Client.RequestTimeout. Defaults to 45 seconds, or three
	// times Client.RequestTimeout if that is more.
	LockTTL time.Duration
	// IdleTimeout closes live clients that were not used for so long; the
	// session stays. Defaults to 15 minutes.
	IdleTimeout time.Duration
	// MaxLiveClients bounds the live clients of this Manager; the least
	// recently used is closed for a new one. Defaults to 10,000.
	MaxLiveClients int
	// MaxSessionsPerOwner bounds the sessions of one owner. The empty owner is
	// no one in particular, and has no such bound: there it is package
	// httpapi's ConnectsPerMinute for each client address, together with TTL,
	// that bounds them, and the store's own size. Defaults to 100.
	MaxSessionsPerOwner int
	// MaxAttemptsPerSession bounds the authorization attempts of a session that
	// wait for their user, of which each browser that uses the session may
	// begin some. Replicas that begin one at the same moment may exceed it.
	// Defaults to 20.
	MaxAttemptsPerSession int

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
	setDefault(&c.LockTTL, max(45*time.Second, 3*c.requestTimeout()))
	setDefault(&c.IdleTimeout, 15*time.Minute)
	setDefault(&c.MaxLiveClients, 10_000)
	setDefault(&c.MaxSessionsPerOwner, 100)
	setDefault(&c.MaxAttemptsPerSession, 20)
	c.TouchInterval = min(c.TouchInterval, c.TTL/4)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	c.SealKeys = nil // the sealer has its own copy
	c.Client.PreregisteredClients = slices.Clone(c.Client.PreregisteredClients)
	c.Client.ClientMetadata = cloneMetadata(c.Client.ClientMetadata)
	return c, nil
}

func cloneMetadata(m oauthex.ClientRegistrationMetadata) oauthex.ClientRegistrationMetadata {
	m.RedirectURIs, m.GrantTypes = slices.Clone(m.RedirectURIs), slices.Clone(m.GrantTypes)
	m.ResponseTypes, m.Contacts = slices.Clone(m.ResponseTypes), slices.Clone(m.Contacts)
	return m
}

// requestTimeout is Client.RequestTimeout with its default.
func (c Config) requestTimeout() time.Duration {
	timeout := c.Client.RequestTimeout
	setDefault(&timeout, 15*time.Second)
	return timeout
}

func setDefault[T int | time.Duration](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

func (c Config) validate() error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("session: Config."+field+": "+format, args...))
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
	if err := c.checkClient(); err != nil {
		bad("Client", "%w", err)
	}
	for _, field := range []struct {
		name  string
		value int64
	}{
		{"TTL", int64(c.TTL)}, {"AttemptTTL", int64(c.AttemptTTL)}, {"TouchInterval", int64(c.TouchInterval)}, {"LockTTL", int64(c.LockTTL)},
		{"IdleTimeout", int64(c.IdleTimeout)}, {"MaxLiveClients", int64(c.MaxLiveClients)}, {"MaxSessionsPerOwner", int64(c.MaxSessionsPerOwner)},
		{"MaxAttemptsPerSession", int64(c.MaxAttemptsPerSession)},
	} {
		if field.value < 0 {
			bad(field.name, "must not be negative")
		}
	}
	if c.LockTTL > 0 && c.LockTTL <= 2*c.requestTimeout() {
		bad("LockTTL", "must exceed twice Client.RequestTimeout (%v)", c.requestTimeout())
	}
	return errors.Join(errs...)
}

// checkClient checks the template now, rather than at the first user.
func (c Config) checkClient() error {
	t := c.Client
	if t.ServerURL != "" || t.CallbackURL != "" || t.OnRedirect != nil || t.Credentials != nil || t.Registrations != nil || t.Attempts != nil || t.AttemptTTL != 0 || t.Logger != nil || t.Now != nil {
		return errors.New("ServerURL, CallbackURL, OnRedirect, Credentials, Registrations, Attempts, AttemptTTL, Logger and Now are set by the Manager")
	}
	t.ServerURL, t.CallbackURL = "https://mcp.invalid", "https://callback.invalid"
	_, err := oauthclient.New(t)
	return err
}

// ephemeral tells whether a store's contents die with the process.
func ephemeral(s store.SessionStore) bool {
	e, ok := s.(store.Ephemeral)
	return ok && e.Ephemeral()
}
