// Package hybridstore is a [store.SessionStore] on Redis that goes on in memory
// while Redis is away.
//
// It is for hosts that would rather have each replica on its own for a while
// than none of them working. A host that prefers an error uses package
// redisstore; [Store.IsRedisConnected] tells which of the two it has just now.
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
//	✅ Redis is back restored=0 created=3 updated=12 deleted=1 merged=1 conflicts=0
//
// # While Redis is in service
//
// Everything goes through package redisstore: a warm Get costs no command, a
// change made by another replica is seen within milliseconds. Beside that the
// store remembers what it reads and writes, up to [Config].MaxEntries records,
// and reads again at once what another replica has changed, so that it has
// something to go on with.
//
// # While Redis is away
//
// An operation that gets no answer within the Redis configuration's OpTimeout
// takes Redis out of service and is done in memory, as are all that follow. This
// replica then knows what it had remembered and what it does itself, and
// nothing of other replicas. A record that it does not know is
// [store.ErrNotFound] and [store.ErrUnsure]: new ones can be created, and package
// session answers that an existing session cannot be looked up just now, rather
// than that it is gone. Redis is asked again after 50 ms, and after twice as long
// each time up to 2 s.
//
// Locks wait for Redis for [Config].LockPatience. Then this replica grants those
// of records that no other one can have: of those that were created since
// Redis went away, and of those that it does not know. The lock of any other
// record is an error. For package session that means that, in an outage that
// lasts, sessions are used, made and removed as always, but the refresh token of
// a session is not spent where another replica might spend it too: a session
// whose access token has ended has to wait, with an error, until Redis is back.
// With [Config].LocalLocks, for hosts with one replica, it has not.
//
// Once it answers, what has changed is replayed, each change as the Swap or
// Delete that it was, and only then is Redis back in service. Where Redis has
// something else than the change was made from, another replica was there
// meanwhile. Package session then makes one record of the two, see
// [Store.SetMerge]; where that is not possible, as when both have refreshed,
// Redis wins, and a warning says so. A Delete is different; it holds whatever
// others have made of the record.
//
// Locks that Redis had granted are given back then, and new ones are granted 3 s
// later, when other replicas have replayed their changes; until then a record
// that is absent is [store.ErrUnsure], too. A lock that this replica granted
// itself, and that is still held, is taken in Redis before the replay.
//
// A change whose answer got lost, at the beginning of an outage or in its
// middle, is recognized when it turns up in Redis. What cannot be decided, as
// when nobody knows who took a record, is an error and never a success.
//
// # When Redis has lost its data
//
// A key in Redis names the life of its data; see redisstore.Store.Epoch. If it
// has changed, every replica brings back what it remembers and was up to date
// about, as long as Redis kept it informed until the end. What somebody has
// deleted with [Store.Delete] stays deleted: deletions are remembered too, for
// two days or until the record would have expired, and outrank memories of other
// replicas whoever comes first. Of different states of one record package session
// knows the later one, see [Store.SetMerge]; without it the first to come wins.
//
// For ten seconds a record that is absent is [store.ErrUnsure], because another
// replica may be about to bring it back. The leases of locks that are held are
// brought back as well, and no new ones are granted for 3 s. A Redis that is used
// for the first time is no different.
//
// Without client-side caching nothing is brought back but what changed while
// Redis was away, as nobody could say what is still true.
//
// # Limits
//
// A replica that is cut off in the middle of a refresh, and stays so until the
// lease of its lock has ended, has what another replica then tries to get with a
// refresh token that is spent: the user has to authorize again. So it is if the
// replica dies there, and with [Config].LocalLocks whenever two replicas are on
// their own.
//
// Redis may come back with its data but the latest, as after a failover, or with
// an append-only file that is written once a second. What it has then counts,
// whatever replicas remember: a token that was refreshed in that moment is lost,
// and a session that was deleted in it is back. With Cluster, the epoch is on one
// node, and that another node has lost its data is not noticed.
//
// A session that was deleted through a replica that has since gone, while another
// one was cut off, can come back from the latter's memory if Redis loses its data
// before that one is back.
//
// # Concurrency
//
// A *Store is safe for concurrent use. It has a few goroutines until
// [Store.Close], which is to be called after the last operation.
//
// # Security
//
// What is remembered lies in memory as it was given, which is sealed by package
// session. Keys, values and credentials are in no error and no log record.
package hybridstore
