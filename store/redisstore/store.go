package redisstore

import (
	"context"
	"time"

	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/internal/redis"
)

// Store is a [store.SessionStore] on a Redis server, cluster or sentinel
// group. Create one with [New]. It does not implement [store.Ephemeral]:
// values leave the process.
//
// # What an operation costs
//
//	Get, warm     nothing
//	Get, cold     one round trip: CLIENT CACHING, MULTI, PTTL, GET, EXEC
//	Swap          one round trip: a script (GET, SET or DEL) and EXISTS
//	Extend        one round trip: a script (GET and SET) and EXISTS
//	Delete        one round trip: DEL and EXISTS
//	Lock          two round trips when it is free, one more with Cluster
//	unlock        one round trip
//	Add           one round trip: a script (GET and SET)
//
// A change made by another replica is usually seen within a millisecond. With EXISTS
// a replica sees its own writes at once: Redis answers a write before it sends the
// notice of the change, and the answer to EXISTS comes after the notice. A borrowed
// client, which may have several connections, needs a round trip of its own for that.
//
// Each operation touches one key, so Cluster needs no hash tags, and none uses
// KEYS, SCAN or FLUSHDB. In Redis a record takes its value, its key, and about
// 150 bytes, and some 400 more per replica that has it in its cache. In the cache
// it takes its value and about 900 bytes; 128 MiB per node are kept, which
// rueidis.ClientOption.CacheSizeEachConn changes, and what is not used goes first.
//
// # When Redis is away
//
// Operations are tried again until [Config].OpTimeout has passed, so that a
// restart or failover of a second or two only makes them slow. A Swap that is
// sent again takes effect once: each carries a stamp by which it recognizes its
// own work. When that cannot be decided, because another writer has changed the
// record since, the error says so. Reads and writes that fail return an
// ordinary error, never one of package store's.
//
// Redis sends its notices on the connection. When the connection is lost, the cache is
// dropped, and records are read again. A network that loses packets without ending the
// connection is noticed because a PING is not answered: about 3 s pass until then, in
// which a Get may return what it knew.
//
// Redis replicates asynchronously. A failover can lose writes that had been
// acknowledged a moment before, as with every use of Redis; set
// min-replicas-to-write where that matters more than availability.
//
// # Locks
//
// A lock is a key with a random token that expires with the lease. Releasing
// compares the token, so that a holder whose lease has run out cannot release
// the next one's. While a lock is held, one waiter per process asks for it, at
// growing intervals of up to 200 ms; an unlock in the same process lets it in at
// once. A lease lasts twice [Config].OpTimeout until the replica that was granted
// it has confirmed that it knows, so that a request which the network delivers
// after its sender has given up delays the other replicas for a short time only.
type Store struct{ redis *redis.Store }

var (
	_ store.SessionStore = (*Store)(nil)
	_ store.Counter      = (*Store)(nil)
	_ store.Watcher      = (*Store)(nil)
)

// ErrClosed is returned by all methods after the client was closed, by
// [Store.Close] or by the host that lent it.
var ErrClosed = redis.ErrClosed

// New returns a store once Redis has answered. It is an error if that does not
// happen in time, or before ctx ends. All mistakes in cfg come as one error, which
// matches [store.ErrInvalid]. No error has credentials in it.
func New(ctx context.Context, cfg Config) (*Store, error) {
	s, err := redis.New(ctx, redis.Config(cfg), nil)
	if err != nil {
		return nil, err
	}
	return &Store{s}, nil
}

// Caching reports whether Get answers from a cache that Redis keeps informed.
func (s *Store) Caching() bool { return s.redis.Caching() }

// Close ends what the store runs in the background, and its client unless the
// host lent it. Locks that are held end by themselves, with their leases.
func (s *Store) Close() { s.redis.Close() }

// Get implements [store.SessionStore]. It answers from the cache where it can.
func (s *Store) Get(ctx context.Context, key string) (value []byte, expiry time.Time, err error) {
	record, err := s.redis.Get(ctx, key)
	if err != nil {
		return nil, time.Time{}, err
	}
	return []byte(record.Value), record.Expiry, nil // a copy: the cache keeps its own
}

// Swap implements [store.SessionStore]. After a lost connection it is sent
// again within Config.OpTimeout, and takes effect once.
func (s *Store) Swap(ctx context.Context, key string, old, new []byte, expiry time.Time) error {
	return s.redis.Swap(ctx, key, redis.Write{Old: old, New: new, Expiry: expiry, Stamp: redis.NewStamp()})
}

// Extend implements [store.SessionStore].
func (s *Store) Extend(ctx context.Context, key string, expiry time.Time) error {
	return s.redis.Extend(ctx, key, expiry)
}

// Delete implements [store.SessionStore].
func (s *Store) Delete(ctx context.Context, key string) error { return s.redis.Delete(ctx, key) }

// Lock implements [store.SessionStore]. Of the callers that wait for one lock
// through one Store, only the first asks Redis, a few times per second and
// when the holder's lease must have ended; an unlock through the same Store
// lets it in at once.
func (s *Store) Lock(ctx context.Context, key string, ttl time.Duration) (unlock func(), err error) {
	return s.redis.Lock(ctx, key, ttl)
}

// Add implements [store.Counter] with one command. It is not sent again after a
// lost connection, because it may have counted.
func (s *Store) Add(ctx context.Context, key string, n int64, expiry time.Time) (total int64, err error) {
	return s.redis.Add(ctx, key, n, expiry)
}

// Watch implements [store.Watcher] by what Redis tells the cache. It costs
// nothing beside the Get that follows. It reports false without the cache, and
// with Config.Client, which keeps to itself what Redis says.
func (s *Store) Watch(key string) (changed <-chan struct{}, stop func(), ok bool) {
	return s.redis.Watch(key)
}
