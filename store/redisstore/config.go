package redisstore

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/redis/rueidis"
)

// Config configures a [Store]. Exactly one of Client, URL and ClientOption is
// needed. It is taken by value; changing it afterwards changes nothing. A
// negative limit is an error, zero stands for the default.
//
// # Permissions
//
// An ACL user for this package needs no more than
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
type Config struct {
	// Client is a client that the host has and closes itself. It must read
	// from primaries only, which is rueidis's default, and its ConnWriteTimeout
	// and Dialer.KeepAlive bound how long a network that silently loses packets
	// can hide another replica's write; rueidis's defaults make that 12 s.
	Client rueidis.Client

	// URL is where Redis is, as [rueidis.ParseURL] reads it:
	//
	//	redis://user:password@host:6379/0
	//	rediss://host:6380                                    TLS
	//	redis://sentinel-1:26379?addr=sentinel-2:26379&master_set=name
	//	redis://node-1:6379?addr=node-2:6379                  cluster
	//
	// A cluster is recognized also from a single address.
	URL string

	// ClientOption is for settings that a URL cannot express: authorities of
	// certificates, rotating credentials, a dialer. It is set when its
	// InitAddress is not empty. PipelineMultiplex is not heeded; one connection
	// per node carries everything, in order.
	ClientOption rueidis.ClientOption

	// KeyPrefix begins every key in Redis: records are under "<prefix>v:", locks
	// under "<prefix>l:", and counts under "<prefix>n:". Stores with different
	// prefixes share nothing, as long as neither prefix begins with the other.
	// Defaults to "mcpoauth:".
	KeyPrefix string

	// CacheTTL bounds how long Get may answer from its cache without asking
	// Redis again. Writes end it earlier, so this is a second line of defence.
	// Defaults to one minute.
	CacheTTL time.Duration

	// DisableCache has every Get ask Redis. It is not needed for a server, a
	// user or a Client that cannot have a cache kept up to date: New notices.
	// Defaults to false.
	DisableCache bool

	// OpTimeout bounds each operation, retries included, and each attempt at a
	// lock; the caller's context may end it earlier. An outage that is shorter
	// only makes an operation slow. Defaults to 3 s.
	OpTimeout time.Duration

	// MaxValueBytes bounds the length of one value, in bytes. A Swap to a longer
	// value is an error that matches store.ErrInvalid. Defaults to 256 KiB.
	MaxValueBytes int

	// Logger gets a record when a server turns out not to support caching.
	// Defaults to slog.Default().
	Logger *slog.Logger
}

// Format implements [fmt.Formatter], because of the passwords in it.
func (c Config) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("redisstore.Config")) }
