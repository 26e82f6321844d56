package bench_test

import (
	"bytes"
	"context"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/redistest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
	"github.com/mcpoauth/mcpoauth/store/redisstore"
)

// BenchmarkHeapOfSessions is the heap of a replica that has called a tool on n
// sessions in Redis, and on ten times as many: with a fixed CacheSize it is the
// same. With MCPOAUTH_CHAOS=long n is 20,000 and not 2,000.
func BenchmarkHeapOfSessions(b *testing.B) {
	n := 2000
	if os.Getenv("MCPOAUTH_CHAOS") == "long" {
		n = 20_000
	}
	for i := range b.N {
		if i > 0 {
			break // once is enough, whatever -benchtime says
		}
		w := newWorld(b, wires[0].options)
		server := redistest.Run(b, redistest.Options{})
		open := func(cacheSize int) *session.Manager {
			s, err := redisstore.New(context.Background(), redisstore.Config{URL: server.URL(), DisableCache: true})
			require.NoError(b, err)
			b.Cleanup(s.Close)
			cfg := session.Config{Store: s, SealKeys: [][]byte{bytes.Repeat([]byte{7}, 32)}, CacheSize: cacheSize, TouchInterval: time.Hour}
			cfg.Client.Transport = oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowLoopback: true})
			m, err := session.New(cfg)
			require.NoError(b, err)
			b.Cleanup(func() { _ = m.Close() })
			return m
		}
		origin, m := open(1), open(n/10)
		creds := oauthclient.Credentials{ // one token, because the authorization server here remembers each
			AccessToken: oauthclient.NewSecret(w.as.Issue("bench", w.mcp.URL())), TokenType: "Bearer", Issuer: w.as.Issuer(),
			Resource: w.mcp.URL(), TokenEndpoint: w.as.URL() + "/token",
		}
		used := func(from, to int) {
			require.NoError(b, inParallel(to-from, func(i int) error {
				client, err := oauthclient.New(oauthclient.Config{
					ServerURL: w.mcp.URL(), CallbackURL: callbackURL, Credentials: oauthclient.NewMemoryCredentialStore(creds),
				})
				if err != nil {
					return err
				}
				id := session.GenerateSessionID()
				if err := origin.SetClient(context.Background(), session.Caller{Owner: ownerName(from + i)}, id, client); err != nil {
					return err
				}
				_, err = m.CallTool(context.Background(), session.Caller{Owner: ownerName(from + i)}, id, "echo", nil)
				return err
			}).err)
		}
		used(0, n)
		few := heap()
		used(n, 10*n)
		many := heap()
		b.ReportMetric(float64(few)/(1<<20), "MiB-at-n")
		b.ReportMetric(float64(many)/(1<<20), "MiB-at-10n")
	}
}
