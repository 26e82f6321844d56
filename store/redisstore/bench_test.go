package redisstore_test

import (
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/redistest"
	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/redisstore"
)

const benchSize = 2 << 10 // about a sealed session record

func benchStore(b *testing.B, cfg redisstore.Config) *redisstore.Store {
	b.Helper()
	cfg.URL = redistest.Run(b, redistest.Options{}).URL()
	return open(b, cfg)
}

func BenchmarkGetWarm(b *testing.B) {
	s := benchStore(b, redisstore.Config{})
	require.NoError(b, s.Swap(b.Context(), "k", nil, make([]byte, benchSize), later()))
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := s.Get(ctx, "k"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGetWarmParallel(b *testing.B) {
	s := benchStore(b, redisstore.Config{})
	require.NoError(b, s.Swap(b.Context(), "k", nil, make([]byte, benchSize), later()))
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, _, err := s.Get(b.Context(), "k"); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// BenchmarkGetCold reads keys that were never read before.
func BenchmarkGetCold(b *testing.B) {
	s := benchStore(b, redisstore.Config{})
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		if _, _, err := s.Get(b.Context(), strconv.Itoa(n)); !errors.Is(err, store.ErrNotFound) {
			b.Fatal(err)
		}
		n++
	}
}

// BenchmarkGetUncached is what each read costs without a cache.
func BenchmarkGetUncached(b *testing.B) {
	s := benchStore(b, redisstore.Config{DisableCache: true})
	require.NoError(b, s.Swap(b.Context(), "k", nil, make([]byte, benchSize), later()))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := s.Get(b.Context(), "k"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSwap(b *testing.B) {
	s := benchStore(b, redisstore.Config{})
	value := make([]byte, benchSize)
	require.NoError(b, s.Swap(b.Context(), "k", nil, value, later()))
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Swap(b.Context(), "k", value, value, later()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkLock is a lock that is free, and its unlock.
func BenchmarkLock(b *testing.B) {
	s := benchStore(b, redisstore.Config{})
	b.ReportAllocs()
	for b.Loop() {
		unlock, err := s.Lock(b.Context(), "k", time.Minute)
		if err != nil {
			b.Fatal(err)
		}
		unlock()
	}
}
