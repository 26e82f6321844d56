package httpapi_test

import (
	"fmt"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/session"
	"github.com/mcpoauth/mcpoauth/store/memstore"
)

// A flood of connects from everywhere, none of which is ever finished, finds an
// end: the store takes no more, live clients make room for each other, and
// existing sessions stay.
func TestFloodOfConnects(t *testing.T) {
	t.Parallel()
	const most = 200
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	mem := memstore.New(memstore.Config{MaxEntries: most})
	w.store = mem
	h := w.replica(t, func(c *session.Config) { c.CacheSize = 10 })
	b := w.browser(t, "")
	id := b.authorized()
	body := `{"serverUrl":"` + w.mcp.URL() + `"}`
	flood := func(first, n int) (full int) {
		for i := first; i < first+n; i++ {
			r := jsonRequest(pathConnect, body)
			r.RemoteAddr = fmt.Sprintf("8.%d.%d.1:1", i>>8, i&0xff)
			toHost(r, h)
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, r)
			switch rec.Code {
			case 401:
			case 503:
				require.Contains(t, rec.Body.String(), "store_unavailable")
				full++
			default:
				require.Fail(t, "neither", "%d %s", rec.Code, rec.Body)
			}
		}
		return full
	}
	require.Positive(t, flood(0, most))
	require.LessOrEqual(t, mem.Len(), most)
	require.Equal(t, 100, flood(most, 100))
	require.LessOrEqual(t, mem.Len(), most)

	require.Equal(t, 200, b.call(id, "echo", `{}`).status)
}
