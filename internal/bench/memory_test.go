package bench_test

import (
	"fmt"
	"net/url"
	"runtime"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
)

func responseOf(b *testing.B, callback string) oauthclient.AuthorizationResponse {
	b.Helper()
	u, err := url.Parse(callback)
	require.NoError(b, err)
	return oauthclient.ParseAuthorizationResponse(u.Query())
}

// BenchmarkIdleSession reports the heap that an idle live session costs, beside
// that of the SDK's own ClientSession. What the test servers keep per session
// is in both figures.
func BenchmarkIdleSession(b *testing.B) {
	for _, wire := range wires {
		for _, n := range []int{1_000, 10_000} {
			b.Run(fmt.Sprintf("%s/sessions=%d", wire.name, n), func(b *testing.B) {
				for range b.N {
					sdk := bareSessionBytes(b, wire.name, n)
					own := ownSessionBytes(b, wire.name, n)
					b.ReportMetric(sdk, "sdk-B/session")
					b.ReportMetric(own, "mcpoauth-B/session")
					b.ReportMetric(own-sdk, "extra-B/session")
				}
			})
		}
	}
}

func worldOf(b *testing.B, name string) *world {
	for _, wire := range wires {
		if wire.name == name {
			return newWorld(b, wire.options)
		}
	}
	b.Fatal("no such wire")
	return nil
}

func bareSessionBytes(b *testing.B, wire string, n int) float64 {
	w := worldOf(b, wire)
	client := newSDKClient()
	transport := oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowLoopback: true})
	w.bare(b, client, transport) // what all share is in memory before the count
	sessions := make([]*mcp.ClientSession, 0, n)
	before := heap()
	for range n {
		sessions = append(sessions, w.bare(b, client, transport))
	}
	bytes := float64(heap()-before) / float64(n)
	for _, s := range sessions {
		_ = s.Close()
	}
	return bytes
}

func ownSessionBytes(b *testing.B, wire string, n int) float64 {
	w := worldOf(b, wire)
	m := w.manager(b)
	ids := make([]string, 0, n)
	touch := func(id string) {
		client, err := m.GetClient(b.Context(), session.Caller{}, id)
		require.NoError(b, err)
		require.NoError(b, client.Connect(b.Context()))
	}
	touch(w.adopt(b, m))
	before := heap()
	for range n {
		id := w.adopt(b, m)
		touch(id)
		ids = append(ids, id)
	}
	bytes := float64(heap()-before) / float64(n)
	runtime.KeepAlive(ids)
	return bytes
}

// heap returns the bytes in use after a full collection.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}
