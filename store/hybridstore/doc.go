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
//	manager, err := session.New(session.Config{Store: s, SealKeys: keys})
//
// An empty URL gives a store in memory only. A Redis that is down at the start is a
// warning in the log and a working store. The log also has a line for each time that
// Redis goes and comes back:
//
//	❌ Redis is away: going on with memory
//	✅ Redis is back created=3 changed=0 extended=12 removed=1 waiting=0
//
// While Redis is up, every operation goes to Redis as in package redisstore. While it
// is away, a record that this replica has seen can be read, extended and deleted, but
// not changed, so no refresh token is spent by two replicas. A record that this replica
// creates works in full. A record that it has not seen is [store.ErrUnsure]. [Store]
// has the details, and what is written to Redis afterwards.
//
// What Redis lost is lost; switch its persistence on.
//
// # Concurrency
//
// A *Store is safe for concurrent use. It has a few goroutines until
// [Store.Close], which is to be called after the last operation.
//
// # Security
//
// Values stay in memory as they were given: package session has sealed them. Keys,
// values and credentials are in no error and no log record.
package hybridstore
