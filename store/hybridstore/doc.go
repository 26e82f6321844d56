// Package hybridstore is a [store.SessionStore] on Redis that goes on in memory
// while Redis is away.
//
// It is for hosts that want most calls to work while Redis is away. A host that
// prefers an error uses package redisstore. docs/hybridstore.md in the repository
// has the rules at length, with a picture.
//
// # Walk-through
//
//	s, err := hybridstore.Open(ctx, os.Getenv("REDIS_URL"))
//	if err != nil {
//		return err // a bad URL, or refused credentials
//	}
//	defer s.Close()
//
// An empty URL gives a store in memory only; one process, nothing outlives it,
// and [Store.Ephemeral] is true. With a URL it is false, also before Redis was
// ever reached, because records may leave the process at any time.
//
// A Redis that is down at the start is a warning in the log and a working store.
// The log also has a line for each time that Redis goes (❌) and comes back (✅):
//
//	❌ Redis is away: going on with memory
//	✅ Redis is back created=3 changed=0 extended=12 removed=1 waiting=0
//
// # While Redis is up
//
// Every operation goes to Redis as in package redisstore, and a warm Get costs no
// command. Beside that the store remembers what it has last seen, up to
// [Config].MaxEntries records and [Config].MaxBytes bytes. When Redis tells that a
// record has changed elsewhere, the store drops the record. It sends Redis nothing
// of its own but health checks.
//
// # While Redis is away
//
// An operation that gets no answer within the Redis configuration's OpTimeout
// takes Redis out of service, and is done in memory, as are all that follow:
//
//   - A record that this replica has seen can be read, extended and deleted. Swap
//     and Lock on it are errors, because another replica may have the record, too:
//     so no refresh token is spent by two replicas. [Config].OnlyReplica lifts that
//     for hosts with one replica.
//   - A record that this replica creates can be read, changed, locked and deleted.
//   - A record that this replica has not seen is [store.ErrUnsure]. It can be
//     created and deleted.
//   - A holder of a lock that Redis granted, who has read the record under that
//     lock, can still save: tokens that were obtained in the moment when Redis
//     vanished are kept.
//
// Redis is asked again after 50 ms at most, and after twice as long each time up to
// 2 s. When Redis answers, the replica writes its creations, extensions, removals and
// changes to Redis. Where Redis has another value, Redis wins, and a warning says so; a
// removal holds in any case. Locks wait for 3 s, so that every other replica is back, too.
//
// A write whose answer got lost when Redis went away is recognized when it turns up
// in Redis, or is an error to its caller.
//
// # Limits
//
// What Redis lost is lost; switch its persistence on. A replica that is cut off in
// the middle of a refresh for longer than the lease of its lock, or dies there, has
// spent a refresh token that another replica then tries: the user authorizes again.
//
// # Concurrency
//
// A *Store is safe for concurrent use. It has a few goroutines until
// [Store.Close], which is to be called after the last operation.
//
// # Security
//
// Values stay in memory as they were given: package session has sealed them. Keys, values and credentials are in no error and no log record.
package hybridstore
