package sqlstore

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"time"

	"github.com/mcpoauth/mcpoauth/store"
)

const (
	// A repeated operation waits between these.
	firstRetry = 10 * time.Millisecond
	longRetry  = 250 * time.Millisecond

	// A waiting Lock asks at intervals between these.
	firstPoll = 10 * time.Millisecond
	longPoll  = 200 * time.Millisecond
)

// errUnknownOutcome ends a write that was repeated after a lost connection and
// then found another record than expected: its first attempt may have changed
// the record, or another writer.
var errUnknownOutcome = errors.New("the connection was lost during the write, which may or may not have happened")

// try does something until it succeeds, fails for good, or OpTimeout has passed.
// unsure reports whether an earlier attempt may have had its effect.
func (s *Store) try(ctx context.Context, op string, do func(ctx context.Context, unsure bool) error) error {
	opCtx, cancel := context.WithTimeout(ctx, s.opTimeout)
	defer cancel()
	unsure := false
	for n := 0; ; n++ {
		err := do(opCtx, unsure)
		if err == nil || errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrConflict) {
			return err
		}
		again, executed := s.dialect.transient(err)
		if opCtx.Err() == nil && !again {
			return fmt.Errorf("sqlstore: %s: %w", op, withoutContents(err))
		}
		unsure = unsure || executed
		if !sleep(opCtx, backoff(n, firstRetry, longRetry)) {
			return s.outOfTime(ctx, op, err)
		}
	}
}

// outOfTime is the error of an operation whose time is over. The last attempt
// ended with err.
func (s *Store) outOfTime(ctx context.Context, op string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("sqlstore: %s: %w", op, ctx.Err())
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		err = os.ErrDeadlineExceeded // it was not the caller's context that ended
	}
	return fmt.Errorf("sqlstore: %s: no success within %v: %w", op, s.opTimeout, withoutContents(err))
}

// transient reports whether an attempt that ended with err is worth repeating,
// and whether it may have been executed.
func (d Dialect) transient(err error) (again, executed bool) {
	if errors.Is(err, errUnknownOutcome) || strings.Contains(err.Error(), "sql: database is closed") {
		return false, false
	}
	if d == SQLite {
		// Another writer is at work. All drivers quote SQLite's words.
		return strings.Contains(err.Error(), "is locked"), false
	}
	if code := sqlState(err); code != "" {
		return transientState(code)
	}
	if v := (*versionError)(nil); errors.As(err, &v) {
		return false, false
	}
	dial := (*net.OpError)(nil)
	if errors.Is(err, driver.ErrBadConn) || errors.As(err, &dial) && dial.Op == "dial" {
		return true, false
	}
	return true, true // the connection was lost
}

// transientState is transient for a server's code.
func transientState(code string) (again, executed bool) {
	switch code {
	case "40001", "40P01", // in conflict with another transaction
		"55P03",          // a lock is not available
		"53300",          // too many connections
		"57P03", "25006": // it is starting; it is a standby
		return true, false
	case "57P01", "57P02", "57P05": // it is stopping, or ended the session
		return true, true
	}
	return strings.HasPrefix(code, "08"), true // connection exceptions
}

// sqlState returns the five characters by which PostgreSQL names an error, as
// its drivers give them.
func sqlState(err error) string {
	if coded := (interface{ SQLState() string })(nil); errors.As(err, &coded) {
		return coded.SQLState()
	}
	return ""
}

// refusal is a server's error. Only its code is kept: its text may quote values.
type refusal struct{ code string }

func (e *refusal) Error() string {
	text := "the database refuses: SQLSTATE " + e.code
	if hint := refusalHints[e.code]; hint != "" {
		text += " (" + hint + ")"
	}
	return text
}

// refusalHints say what to do about refusals. They replace the server's text.
var refusalHints = map[string]string{
	"28000": "the user may not connect",
	"28P01": "the password is wrong",
	"3D000": "there is no such database",
	"3F000": "there is no schema to create tables in",
	"42501": "the user lacks a privilege; see the documentation of package sqlstore",
	"42P01": "a table is missing",
	"53100": "the disk is full",
	"53300": "too many connections; see sql.DB.SetMaxOpenConns",
	"25006": "it is a standby",
	"57P03": "it is starting or stopping",
}

// withoutContents returns err in a form whose text has no keys or values.
func withoutContents(err error) error {
	if code := sqlState(err); code != "" {
		return &refusal{code}
	}
	return err
}

// backoff is the wait before attempt n+2: it doubles from first to most, and up
// to half of it is left to chance.
func backoff(n int, first, most time.Duration) time.Duration {
	d := most
	if n < 10 {
		d = min(first<<n, most)
	}
	return d/2 + rand.N(d/2+1)
}

// sleep reports whether d has passed before ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
