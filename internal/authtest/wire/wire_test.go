package wire_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest/wire"
)

func serve(f *wire.Faults, key string) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	ok := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNoContent)
		w.(http.Flusher).Flush()
	})
	f.Serve(key, ok, rec, httptest.NewRequest(http.MethodGet, "/", nil))
	return rec
}

func TestFaultsBelongToTheirKey(t *testing.T) {
	t.Parallel()
	var f wire.Faults
	require.Equal(t, http.StatusNoContent, serve(&f, "a").Code)
	f.Next("a", 1, wire.Status(http.StatusTeapot))
	f.Outage("a", wire.StatusRetryAfter(http.StatusServiceUnavailable, 1500*time.Millisecond))
	require.Equal(t, http.StatusNoContent, serve(&f, "b").Code)
	require.Equal(t, http.StatusTeapot, serve(&f, "a").Code)
	outage := serve(&f, "a")
	require.Equal(t, http.StatusServiceUnavailable, outage.Code)
	require.Equal(t, "2", outage.Header().Get("Retry-After"), "rounded up")
	f.Reset()
	f.Drop("a", 1)
	require.PanicsWithValue(t, http.ErrAbortHandler, func() { serve(&f, "a") })
	require.Equal(t, http.StatusNoContent, serve(&f, "a").Code)
}

func TestOlderReleaseKeepsANewerBlock(t *testing.T) {
	t.Parallel()
	var f wire.Faults
	older, newer := f.Block("a"), f.Block("a")
	older()
	served := make(chan struct{})
	go func() { serve(&f, "a"); close(served) }()
	select {
	case <-served:
		require.Fail(t, "served while blocked")
	case <-time.After(20 * time.Millisecond): // what does not happen takes time to see
	}
	newer()
	<-served
}

func TestLog(t *testing.T) {
	t.Parallel()
	var log wire.Log[int]
	edit := log.Add(1)
	log.Add(2)
	edit(func(v *int) { *v = 3 })
	require.Equal(t, []int{3, 2}, log.Select(nil))
	require.Equal(t, []int{2}, log.Select(func(v *int) bool { return *v < 3 }))
	log.Reset()
	require.Empty(t, log.Select(nil))
}

func TestStatusWriterReportsOnce(t *testing.T) {
	t.Parallel()
	for name, write := range map[string]func(*wire.StatusWriter){
		"header": func(w *wire.StatusWriter) { w.WriteHeader(http.StatusAccepted); _, _ = w.Write(nil) },
		"body":   func(w *wire.StatusWriter) { _, _ = w.Write([]byte("x")); w.Flush() },
		"flush":  func(w *wire.StatusWriter) { w.Flush(); _, _ = w.Write([]byte("x")) },
	} {
		var got []int
		rec := httptest.NewRecorder()
		w := wire.NewStatusWriter(rec, func(status int) { got = append(got, status) })
		write(w)
		require.Equal(t, []int{rec.Code}, got, name)
		require.Same(t, rec, w.Unwrap(), name)
	}
}
