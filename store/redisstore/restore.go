package redisstore

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/mcpoauth/mcpoauth/store"
)

// The methods here are for stores that are built on top of this one and keep a
// copy of what they have read and written, such as package hybridstore's. They
// bring back what a Redis that was restarted empty has lost, without bringing
// back what somebody deleted.

// Ping asks Redis for an answer, once: unlike with every other method, a lost
// connection is an error at once, also if the next one would be better.
func (s *Store) Ping(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("redisstore: ping: %w", err)
	}
	if s.background.Err() != nil {
		return ErrClosed
	}
	opCtx := newOpContext(ctx, s.opTimeout)
	defer opCtx.stop()
	if err := s.client.Do(opCtx, s.client.B().Ping().Build()).Error(); err != nil {
		return s.failure(ctx, opCtx, "ping", withoutContents(err))
	}
	return nil
}

// Read is Get, with what else is known about the record.
func (s *Store) Read(ctx context.Context, key string) (Record, error) {
	if err := ctx.Err(); err != nil {
		return Record{}, fmt.Errorf("redisstore: get: %w", err)
	}
	if err := store.CheckKey(key); err != nil {
		return Record{}, err
	}
	return s.read(ctx, s.recordKey(key))
}

// Restore creates a record that Redis has lost, unless there is one, or a
// tombstone; then it returns [store.ErrConflict]. For [Store.Bury], a restored
// record remains one over later Swaps.
func (s *Store) Restore(ctx context.Context, key string, value []byte, expiry time.Time) error {
	if err := store.CheckSwap(key, value, expiry); err != nil {
		return err
	}
	return s.create(ctx, "restore", key, restoreScript, encode(markRestored, value, expiry), expiry)
}

// Bury makes a record absent and keeps it from being restored until expiry. If
// it was created by Swap, which may have been after the deletion that Bury
// repeats, and force is not set, it stays and Bury returns
// [store.ErrConflict]. To all other methods the record is absent, and Swap can
// create it.
func (s *Store) Bury(ctx context.Context, key string, expiry time.Time, force bool) error {
	if err := store.CheckSwap(key, []byte{}, expiry); err != nil {
		return err
	}
	flag := "0"
	if force {
		flag = "1"
	}
	return s.create(ctx, "bury", key, buryScript, encode(markTombstone, nil, expiry), expiry, flag)
}

// Relock takes the locks that this Store has granted and that are held again,
// for what is left of their leases, in a Redis that has lost its data and with
// them the leases. One that somebody else has been granted there in the meantime
// is asked for in the background, until its lease would have ended. The error is
// that of the first lock that Redis did not answer about.
func (s *Store) Relock(ctx context.Context) error {
	s.mu.Lock()
	held := slices.Collect(maps.Keys(s.held))
	s.mu.Unlock()
	for _, l := range held {
		switch done, err := l.retake(ctx); {
		case err != nil:
			return err
		case !done && l.retaking.CompareAndSwap(false, true):
			s.goWork(func(ctx context.Context) {
				defer l.retaking.Store(false)
				for done := false; !done && sleep(ctx, longPoll/4); {
					done, _ = l.retake(ctx)
				}
			})
		}
	}
	return nil
}

// retake asks once for the rest of a lease, and returns true when there is no
// reason to ask again.
func (l *lease) retake(ctx context.Context) (done bool, err error) {
	left := min(l.ttl, time.Until(l.granted.Add(max(l.ttl, l.s.renewFor))))
	if left <= 0 || !l.s.holds(l) {
		return true, nil
	}
	err = l.s.try(ctx, "lock", func(ctx context.Context, _ bool) error {
		others, err := l.s.run(ctx, l.name, lockScript, l.token, milliseconds(left))
		if err == nil && others == 0 {
			// It may be there and not yet have been confirmed.
			_, err = l.s.run(ctx, l.name, renewScript, l.token, milliseconds(left))
			done = err == nil
		}
		return err
	})
	if !l.s.holds(l) {
		l.releaseLater() // it was given back meanwhile
		return true, err
	}
	return done, err
}

// create runs a script that writes a record or refuses to. Sending it again is
// harmless, except that Restore may then take its own work for somebody else's.
func (s *Store) create(
	ctx context.Context, op, key string, sc script, record string, expiry time.Time, more ...string,
) error {
	pxat := expireAt(expiry)
	if pxat <= 0 {
		return nil // over already
	}
	name := s.recordKey(key)
	args := append([]string{record, strconv.FormatInt(pxat, 10)}, more...)
	return s.try(ctx, op, func(ctx context.Context, _ bool) error {
		done, err := s.write(ctx, name, sc, args)
		if err == nil && done == 0 {
			return store.ErrConflict
		}
		return err
	})
}

// YoungEpoch is how long an epoch is young.
const YoungEpoch = 10 * time.Second

// Epoch returns a name for the life of the data under this prefix: the same one
// for as long as Redis keeps it, to every replica, and another one after Redis
// has lost it.
func (s *Store) Epoch(ctx context.Context) (epoch string, err error) {
	name, fresh := s.prefix+"epoch", rand.Text()
	err = s.try(ctx, "epoch", func(ctx context.Context, _ bool) error {
		for range 2 {
			epoch, err = s.client.Do(ctx, s.client.B().Get().Key(name).Build()).ToString()
			if err == nil || !isNil(err) {
				return err
			}
			young := s.client.B().Set().Key(s.youngKey()).Value("").Px(YoungEpoch).Build()
			if err = s.client.Do(ctx, young).Error(); err != nil {
				return err
			}
			err = s.client.Do(ctx, s.client.B().Set().Key(name).Value(fresh).Nx().Build()).Error()
			if err != nil && !isNil(err) {
				return err
			}
		}
		return err
	})
	return epoch, err
}

func (s *Store) youngKey() string { return s.prefix + "epoch:young" }

// EpochIsYoungFor returns for how long it is not yet certain that what is absent
// has never been there or was deleted: a replica that knows it from a former
// life of the data may be about to bring it back. It is zero when the epoch is
// older than YoungEpoch.
func (s *Store) EpochIsYoungFor(ctx context.Context) (left time.Duration, err error) {
	err = s.try(ctx, "epoch", func(ctx context.Context, _ bool) error {
		ms, err := s.client.Do(ctx, s.client.B().Pttl().Key(s.youngKey()).Build()).AsInt64()
		left = max(0, time.Duration(ms)*time.Millisecond)
		return err
	})
	return left, err
}
