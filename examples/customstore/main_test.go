//go:build unix

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/storetest"
)

func TestContract(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t testing.TB) storetest.Backend {
		dir := t.TempDir()
		return storetest.Backend{
			Store: open(t, dir), Peer: open(t, dir), Isolated: open(t, t.TempDir()),
			Timeout: time.Minute, // every write waits for the disk
		}
	})
}

func TestRun(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), t.TempDir(), &out))
	require.Contains(t, out.String(), "first life:  the user must authorize\nfirst life:  connected\nsecond life: ")
	require.Contains(t, out.String(), `"sum":42`)
}

// An outage is never "not found": a caller that took it for that would throw away
// credentials that still exist.
func TestOutage(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	require.NoError(t, s.Swap(t.Context(), "k", nil, []byte("v"), time.Now().Add(time.Hour)))
	damaged := s.path("v", "k")
	require.NoError(t, os.WriteFile(damaged, []byte("short"), 0o600))
	_, _, err := s.Get(t.Context(), "k")
	require.ErrorContains(t, err, "damaged")
	require.NotErrorIs(t, err, store.ErrNotFound)

	require.NoError(t, os.RemoveAll(s.dir))
	_, _, err = s.Get(t.Context(), "k")
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NotErrorIs(t, err, store.ErrNotFound)
	for name, err := range map[string]error{
		"Swap":   s.Swap(t.Context(), "k", nil, []byte("v"), time.Now().Add(time.Hour)),
		"Delete": s.Delete(t.Context(), "k"),
	} {
		require.ErrorIs(t, err, os.ErrNotExist, name)
		require.NotErrorIs(t, err, store.ErrConflict, name)
	}
}

func TestSweep(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	ctx := t.Context()
	require.NoError(t, s.Swap(ctx, "kept", nil, []byte("v"), time.Now().Add(time.Hour)))
	require.NoError(t, s.exclusive(func() error { return s.write(s.path("v", "old"), []byte("v"), time.Now().Add(-time.Second)) }))
	require.NoError(t, s.Sweep())
	files, err := filepath.Glob(filepath.Join(s.dir, "v-*"))
	require.NoError(t, err)
	require.Equal(t, []string{s.path("v", "kept")}, files)
}

func open(t testing.TB, dir string) *FileStore {
	t.Helper()
	s, err := Open(dir)
	require.NoError(t, err)
	return s
}
