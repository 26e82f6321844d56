package session

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/mcpoauth/mcpoauth/internal/members"
	"github.com/mcpoauth/mcpoauth/store"
)

// slot is a minute in which sessions are due, counted from 1970.
type slot int64

const slotWidth = time.Minute

func slotAt(t time.Time) slot { return slot(t.Unix() / int64(slotWidth/time.Second)) }

func (s slot) start() time.Time { return time.Unix(int64(s)*int64(slotWidth/time.Second), 0) }

// bucket lists the keys of sessions that are due in one slot. A bucket that is
// full has children, one for each hexadecimal digit that follows in the hashes of
// the keys. A key that is listed wrongly, or twice, does no harm: the session's
// record decides.
type bucket struct {
	Format   int      `json:"format"`
	Sessions []string `json:"sessions"`
	Children uint16   `json:"children,omitempty"` // which ones may exist, a bit for each digit
	kept
}

// maxBucket is the number of keys in a bucket: 6 KiB.
const maxBucket = 200

var bucketMembers = members.Known[bucket]()

func (*bucket) members() map[string]bool { return bucketMembers }

// bucketStoreKey names the bucket of a slot for the keys whose hashes begin with
// path.
func bucketStoreKey(s slot, path string) string {
	return "alive:" + strconv.FormatInt(int64(s), 10) + ":" + path
}

// pathOf returns the digits of a session's way through the buckets of a slot.
func pathOf(key string) string { return hash("keep-alive", key) }

// shareOf returns a number from 0 to 1 that never changes for a session: it spreads
// sessions in time. It does not depend on the first digits of pathOf.
func shareOf(key string) float64 {
	path := pathOf(key)
	sum, _ := hex.DecodeString(path[len(path)-8:]) // a hash in hexadecimal
	return float64(binary.BigEndian.Uint32(sum)) / (1 << 32)
}

// child returns the bit of a digit in bucket.Children.
func child(digit byte) uint16 {
	n, _ := strconv.ParseUint(string(digit), 16, 4) // a digit of a hash
	return 1 << n
}

// errNoBucket is returned for a bucket that does not exist.
var errNoBucket = errors.New("session: no such bucket")

// readBucket gets a bucket. One that is damaged counts as empty, with the value
// that takes its place.
func (m *Manager) readBucket(ctx context.Context, storeKey string) (b bucket, value []byte, err error) {
	value, _, err = m.cfg.Store.Get(ctx, storeKey)
	if errors.Is(err, store.ErrNotFound) {
		return b, nil, errNoBucket
	}
	if err == nil {
		err = m.sealer.decode(storeKey, value, &b)
		if err != nil && !isUnreadable(err) {
			m.cfg.Logger.WarnContext(ctx, "mcpoauth: unusable bucket of sessions to keep alive", "error", err)
			return bucket{}, value, nil
		}
	}
	if err != nil {
		return bucket{}, nil, storeError(ctx, "reading the sessions to keep alive", err)
	}
	return b, value, nil
}

// updateBucket changes a bucket by compare-and-swap, and deletes one that holds
// nothing any more.
func (m *Manager) updateBucket(ctx context.Context, at slot, path string, fn func(b *bucket) error) error {
	storeKey := bucketStoreKey(at, path)
	end, err := m.turns.take(ctx, storeKey)
	if err != nil {
		return err
	}
	defer end()
	for wait := time.Millisecond; ; wait = min(2*wait, maxConflictPause) {
		b, old, err := m.readBucket(ctx, storeKey)
		if err != nil && !errors.Is(err, errNoBucket) {
			return err
		}
		if err := fn(&b); errors.Is(err, errUnchanged) {
			return nil
		} else if err != nil {
			return err
		}
		var value []byte
		if len(b.Sessions) > 0 || b.Children != 0 {
			b.Format = recordFormat
			if value, err = m.sealer.encode(storeKey, &b); err != nil {
				return err
			}
		} else if old == nil {
			return nil
		}
		err = m.cfg.Store.Swap(ctx, storeKey, old, value, m.indexExpiry(at))
		if err == nil {
			return nil
		}
		if !errors.Is(err, store.ErrConflict) {
			return storeError(ctx, "writing the sessions to keep alive", err)
		}
		if !pause(ctx, rand.N(wait)) { // as for an owner's list
			return ctx.Err()
		}
	}
}

// indexExpiry is the life of what is in the index at a slot: a session that was
// due then, and not used since, has ended after Config.TTL.
func (m *Manager) indexExpiry(at slot) time.Time {
	return at.start().Add(m.cfg.TTL + 24*time.Hour)
}

// place lists a session in a slot, unless it is listed there already.
func (m *Manager) place(ctx context.Context, at slot, key string) error {
	path := pathOf(key)
	for depth := range len(path) {
		full := false
		err := m.updateBucket(ctx, at, path[:depth], func(b *bucket) error {
			full = false
			switch bit := child(path[depth]); {
			case slices.Contains(b.Sessions, key):
				return errUnchanged
			case len(b.Sessions) < maxBucket:
				b.Sessions = append(b.Sessions, key)
			case b.Children&bit != 0:
				full = true
				return errUnchanged
			default:
				full = true
				b.Children |= bit
			}
			return nil
		})
		if err != nil || !full {
			return err
		}
	}
	return nil // there are not that many sessions
}

// unlist takes a session that was removed out of the index. What stays there in
// case of a failure is dropped when it is due.
func (m *Manager) unlist(ctx context.Context, s stored) {
	path, at := pathOf(s.key), slot(s.Slot)
	if at == 0 {
		return
	}
	for depth := range len(path) {
		found := false
		var children uint16
		err := m.updateBucket(ctx, at, path[:depth], func(b *bucket) error {
			children = b.Children
			if found = slices.Contains(b.Sessions, s.key); !found {
				return errUnchanged
			}
			b.remove([]string{s.key})
			return nil
		})
		if err != nil {
			m.cfg.Logger.WarnContext(ctx, "mcpoauth: cannot take a session out of the sessions to keep alive", "session", s.key, "error", err)
		}
		if err != nil || found || children&child(path[depth]) == 0 {
			return
		}
	}
}

// remove takes keys out of a bucket.
func (b *bucket) remove(keys []string) {
	b.Sessions = slices.DeleteFunc(b.Sessions, func(key string) bool { return slices.Contains(keys, key) })
}
