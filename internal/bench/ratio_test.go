package bench_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// BenchmarkBesideHandler compares the library with the bare handler call by
// call, in turns, so that what else the machine does weighs on both. The
// medians and their ratio are what the targets are about.
func BenchmarkBesideHandler(b *testing.B) {
	for _, wire := range wires {
		w := newWorld(b, wire.options)
		bare := w.bare(b, newSDKClient(), oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowLoopback: true}))
		floor := bareHandler(bare)
		m := w.manager(b)
		api, err := httpapi.New(m, httpapi.Config{PublicURL: "https://app.example", RequestsPerMinute: -1})
		require.NoError(b, err)
		id := w.adopt(b, m)
		body := mustJSON(b, map[string]any{"sessionId": id, "toolName": "echo", "toolArgs": map[string]any{"text": "hello", "n": 42}})
		relay := w.relay(b, strings.TrimPrefix(wire.name, "wire="), oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowLoopback: true}))
		b.Run(wire.name+"/tool=call", func(b *testing.B) {
			inTurns(b,
				func() { serve(b, floor, http.MethodPost, "/api/mcp/tool/call", body) },
				func() { serve(b, api, http.MethodPost, "/api/mcp/tool/call", body) })
		})
		b.Run(wire.name+"/tool=call/floor=relay", func(b *testing.B) {
			inTurns(b,
				func() { serve(b, relay, http.MethodPost, "/api/mcp/tool/call", body) },
				func() { serve(b, api, http.MethodPost, "/api/mcp/tool/call", body) })
		})
		b.Run(wire.name+"/tool=list", func(b *testing.B) {
			inTurns(b,
				func() { serve(b, floor, http.MethodGet, "/api/mcp/tool/list", nil) },
				func() { serve(b, api, http.MethodGet, "/api/mcp/tool/list?sessionId="+id, nil) })
		})
		_ = bare.Close()
	}
}

func inTurns(b *testing.B, floor, own func()) {
	var times [2][]time.Duration
	for b.Loop() {
		for i, call := range []func(){floor, own} {
			start := time.Now()
			call()
			times[i] = append(times[i], time.Since(start))
		}
	}
	handler, mcpoauth := median(times[0]), median(times[1])
	b.ReportMetric(handler, "handler-ns/call")
	b.ReportMetric(mcpoauth, "mcpoauth-ns/call")
	b.ReportMetric(mcpoauth/handler, "mcpoauth/handler")
}
