// Package redisstore is a [store.SessionStore] on Redis, for hosts with several
// replicas and for sessions that outlive a restart.
//
// It works with a standalone server, with Sentinel and with Cluster, over TLS,
// as an ACL user, from Redis 6.2 on, and with Valkey. All replicas that share
// sessions need the same server and the same key prefix.
//
// # Walk-through
//
//	s, err := redisstore.New(ctx, redisstore.Config{URL: "rediss://mcpoauth:secret@redis:6379/0"})
//	if err != nil {
//		return err // no password in it
//	}
//	defer s.Close()
//
//	manager, err := session.New(session.Config{Store: s, SealKeys: keys})
//
// A host that has a [rueidis.Client] lends it with [Config].Client and closes
// it itself; what a URL cannot say goes into [Config].ClientOption.
//
// # What an operation costs
//
// Get answers from a cache in the process. Redis remembers the readers of a record and
// notifies them of changes (server-assisted client-side caching). So a record that has
// been read and has not changed since costs no command at all, and a change made by
// another replica is usually seen within a millisecond.
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
// With EXISTS a replica sees its own writes at once: Redis answers a write before it
// sends the notice of the change, and the answer to EXISTS comes after the notice. A
// borrowed client, which may have several connections, needs a round trip of its own
// for that.
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
//
// # Concurrency
//
// A *Store is safe for concurrent use. Concurrent commands share connections
// and packets.
//
// # Security
//
// Package session seals what it stores; see there. An ACL user for this
// package needs no more than
//
//	ACL SETUSER mcpoauth on >secret ~mcpoauth:* -@all +hello +ping +get +pttl
//	    +exists +set +del +pexpire +eval +evalsha +multi +exec
//	    +client|tracking +client|caching
//
// and, beside that,
//
//	+select                                 for a database other than 0
//	+role                                   with Sentinel
//	+cluster|slots +cluster|shards +asking  with Cluster
//	+getrange                               for a borrowed client
//
// on every server that may become a primary. Without CLIENT TRACKING or CLIENT
// CACHING everything works, with a round trip for each Get.
//
// Keys, values and credentials are in no error and no log record. Of a
// server's error only the code is kept, as servers quote commands in theirs.
package redisstore
