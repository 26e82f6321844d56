package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/mcpoauth/mcpoauth/store"
)

// ErrClosed is returned by all methods after the client was closed, by
// [Store.Close] or by the host that lent it.
var ErrClosed = errors.New("redisstore: closed")

var (
	// errForeign ends a Get whose key holds something that this package has not
	// written. Only its deletion helps.
	errForeign = errors.New("the key holds something else than a record")

	// errUnknownOutcome ends a write that was sent again after a lost
	// connection and then found another record than expected: it may be the
	// first attempt's record, or another writer's.
	errUnknownOutcome = errors.New("the connection was lost during the write, which may or may not have happened")

	errConnectionLost = errors.New("the connection was lost")
)

// notSent is the error of an operation that certainly has not reached Redis.
type notSent struct{ error }

func (e notSent) Unwrap() error { return e.error }

// IsNotSent reports whether err is that of an operation that certainly has not
// reached Redis, or that Redis has not executed.
func IsNotSent(err error) bool { return errors.As(err, new(notSent)) }

// IsOutage reports whether err, from any method or from [New], means that Redis
// could not be reached or did not answer properly in time. It is false if the
// caller's context ended, if the server refuses the command or the credentials,
// for the errors of package store, and if Redis has answered but the outcome of
// a write is unknown.
func IsOutage(err error) bool {
	for _, other := range []error{
		store.ErrNotFound, store.ErrConflict, store.ErrInvalid, ErrClosed, context.Canceled, context.DeadlineExceeded, errForeign, errUnknownOutcome,
	} {
		if errors.Is(err, other) {
			return false
		}
	}
	if r := (*refusal)(nil); errors.As(err, &r) {
		return r.passing()
	}
	return err != nil
}

// refusal is a server's error. Only its code is kept: some servers quote a
// command's arguments, which are keys and values, in the text that follows.
type refusal struct{ code string }

func (e *refusal) Error() string {
	text := "the server refuses: " + e.code
	if hint := refusalHints[e.code]; hint != "" {
		text += " (" + hint + ")"
	}
	return text
}

// passing reports whether the server will probably accept the command soon. It
// has not executed it.
func (e *refusal) passing() bool {
	switch e.code {
	case "LOADING", "CLUSTERDOWN", "TRYAGAIN", "MASTERDOWN", "READONLY", "NOREPLICAS", "BUSY":
		return true
	}
	return false
}

// refusalHints say what to do about refusals. They replace the server's text.
var refusalHints = map[string]string{
	"NOAUTH":      "a password is required",
	"WRONGPASS":   "the user or the password is wrong",
	"NOPERM":      "the user lacks a command or the key prefix; see the documentation of package redisstore",
	"READONLY":    "it is a replica",
	"LOADING":     "it is reading its data",
	"OOM":         "its memory is full",
	"MISCONF":     "it cannot save its data",
	"CLUSTERDOWN": "a part of the cluster is missing",
	"MASTERDOWN":  "it has lost its primary",
	"WRONGTYPE":   "the key holds something else than a record",
	"BUSY":        "it is executing a script",
}

// isNil reports whether Redis has answered that there is nothing.
func isNil(err error) bool { return rueidis.IsRedisNil(err) }

func isOutOfMemory(err error) bool {
	server, ok := rueidis.IsRedisErr(err)
	return ok && strings.HasPrefix(server.Error(), "OOM")
}

// withoutContents returns err in a form whose text has no keys or values.
func withoutContents(err error) error {
	if server, ok := rueidis.IsRedisErr(err); ok {
		code, _, _ := strings.Cut(server.Error(), " ")
		if code == "" || strings.ToUpper(code) != code {
			code = "ERR" // which rueidis cuts off
		}
		return &refusal{code: code}
	}
	switch {
	case errors.Is(err, rueidis.ErrClosing):
		return ErrClosed
	case errors.Is(err, rueidis.ErrDoCacheAborted):
		return errConnectionLost
	}
	return err
}

// mayPass reports whether an attempt that ended with err is worth repeating, and
// whether it may have had an effect.
func mayPass(err error) (again, unsure bool) {
	if r := (*refusal)(nil); errors.As(err, &r) {
		return r.passing(), false
	}
	switch {
	case errors.Is(err, ErrClosed), errors.Is(err, errUnknownOutcome), errors.Is(err, errForeign):
		return false, false
	}
	dial := (*net.OpError)(nil)
	return true, !errors.As(err, &dial) || dial.Op != "dial"
}

// failure is the error of an operation that was given up. ctx is the caller's,
// and opCtx the operation's, which ends at the same time or before.
func (s *Store) failure(ctx, opCtx context.Context, op string, err error) error {
	if cause := ctx.Err(); cause != nil {
		return fmt.Errorf("redisstore: %s: %w", op, cause)
	}
	if errors.Is(err, ErrClosed) {
		return err
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || socketTimeout(opCtx, err) {
		// Sockets know of a deadline a little earlier than contexts do.
		if sameDeadline(ctx, opCtx) {
			return fmt.Errorf("redisstore: %s: %w", op, context.DeadlineExceeded)
		}
		return fmt.Errorf("redisstore: %s: no answer within %v: %w", op, s.opTimeout, os.ErrDeadlineExceeded)
	}
	return fmt.Errorf("redisstore: %s: %w", op, err)
}

// socketTimeout reports whether a socket's own time-out is the end of ctx. A dial
// has the deadline of ctx, and its error does not name the context.
func socketTimeout(ctx context.Context, err error) bool {
	deadline, ok := ctx.Deadline()
	return ok && errors.Is(err, os.ErrDeadlineExceeded) && time.Until(deadline) < 50*time.Millisecond
}

func sameDeadline(a, b context.Context) bool {
	x, okX := a.Deadline()
	y, okY := b.Deadline()
	return okX && okY && x.Equal(y)
}

// IsUnknownOutcome reports whether err is that of a write which may or may not
// have happened, although Redis answers.
func IsUnknownOutcome(err error) bool { return errors.Is(err, errUnknownOutcome) }
