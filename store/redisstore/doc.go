// Package redisstore is a [store.SessionStore] on Redis, for hosts with several
// replicas and for sessions that outlive a restart.
//
// It works with a standalone server, with Sentinel and with Cluster, over TLS,
// as an ACL user, from Redis 6.2 on, and with Valkey. All replicas that share
// sessions need the same server and the same key prefix. While Redis is away,
// operations fail; package hybridstore goes on in memory.
//
// # Walk-through
//
//	s, err := redisstore.New(ctx, redisstore.Config{URL: "rediss://mcpoauth:secret@redis:6379/0"})
//	if err != nil {
//		return err // no password in it
//	}
//	defer s.Close()
//	manager, err := session.New(session.Config{Store: s, SealKeys: keys})
//
// A host that has a [rueidis.Client] lends it with [Config].Client and closes
// it itself; what a URL cannot say goes into [Config].ClientOption.
//
// A record that has been read and has not changed since costs no command: Redis
// tells replicas of changes (server-assisted client-side caching). [Store] says what
// each operation costs, and what happens in an outage; [Config], what an ACL user
// must be allowed. Switch the persistence of Redis on.
//
// # Concurrency
//
// A *Store is safe for concurrent use. Concurrent commands share connections
// and packets.
//
// # Security
//
// Package session seals what it stores; see there. Keys, values and credentials are
// in no error and no log record.
package redisstore
