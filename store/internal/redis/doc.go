// Package redis is what packages redisstore and hybridstore share: connections,
// scripts, retries, errors without contents, records and leases in Redis.
package redis
