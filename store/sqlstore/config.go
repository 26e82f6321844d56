package sqlstore

import (
	"database/sql"
	"errors"
	"log/slog"
	"regexp"
	"time"

	"github.com/mcpoauth/mcpoauth/store"
)

const (
	defaultTablePrefix   = "mcpoauth_"
	defaultOpTimeout     = 3 * time.Second
	defaultSweepInterval = time.Minute

	// maxKeyBytes is well below the longest index entry of PostgreSQL.
	maxKeyBytes = 1024
)

// Config configures a [Store]. DB and Dialect are required. It is taken by
// value; changing it afterwards changes nothing.
type Config struct {
	// DB is the database, with a driver of the host's choice. The host closes
	// it after the last use of the Store.
	DB *sql.DB

	// Dialect is the database's kind: [Postgres] or [SQLite].
	Dialect Dialect

	// TablePrefix begins the names of the tables: lower-case letters, digits
	// and underscores, at most 32. Stores with different prefixes share
	// nothing. Defaults to "mcpoauth_".
	TablePrefix string

	// MaxValueBytes bounds the length of one value. Defaults to 256 KiB.
	MaxValueBytes int

	// OpTimeout bounds each operation, retries included, and each attempt at a
	// lock; the caller's context may end it earlier. An outage that is shorter
	// only makes an operation slow. Defaults to 3 s.
	OpTimeout time.Duration

	// SweepInterval is the least time between two sweeps of this Store, each of
	// which deletes expired rows, 10,000 of each table at most. Writes start
	// them. Defaults to one minute.
	SweepInterval time.Duration

	// Logger gets a record when a sweep fails. Defaults to
	// slog.Default().
	Logger *slog.Logger
}

var tablePrefix = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,31}$`)

// withDefaults returns the config completed, or all mistakes at once.
func (c Config) withDefaults() (Config, error) {
	var errs []error
	bad := func(field, text string) {
		errs = append(errs, &configError{"sqlstore: Config." + field + ": " + text})
	}
	if c.DB == nil {
		bad("DB", "is required")
	}
	if c.Dialect != Postgres && c.Dialect != SQLite {
		bad("Dialect", "must be Postgres or SQLite")
	}
	if c.TablePrefix != "" && !tablePrefix.MatchString(c.TablePrefix) {
		bad("TablePrefix", "must be lower-case letters, digits and underscores, at most 32")
	}
	if c.MaxValueBytes < 0 {
		bad("MaxValueBytes", "is negative")
	}
	if c.OpTimeout < 0 {
		bad("OpTimeout", "is negative")
	}
	if c.SweepInterval < 0 {
		bad("SweepInterval", "is negative")
	}
	if len(errs) > 0 {
		return c, errors.Join(errs...)
	}
	setDefault(&c.TablePrefix, defaultTablePrefix)
	setDefault(&c.MaxValueBytes, store.DefaultMaxValueBytes)
	setDefault(&c.OpTimeout, defaultOpTimeout)
	setDefault(&c.SweepInterval, defaultSweepInterval)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// configError is a mistake in a Config; it matches [store.ErrInvalid].
type configError struct{ text string }

func (e *configError) Error() string { return e.text }

func (e *configError) Unwrap() error { return store.ErrInvalid }
