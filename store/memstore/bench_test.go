package memstore_test

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/memstore"
)

// benchEntries is how many records the store of a benchmark holds: enough for
// map and heap to have a realistic depth.
const benchEntries = 50_000

// filled returns a store with benchEntries records of size bytes, and their
// keys.
func filled(b *testing.B, size int) (*memstore.Store, []string) {
	b.Helper()
	s := memstore.New(memstore.Config{})
	keys := make([]string, benchEntries)
	expiry := time.Now().Add(time.Hour)
	for i := range keys {
		keys[i] = "session:" + strconv.Itoa(i)
		value := make([]byte, size)
		if err := s.Swap(b.Context(), keys[i], nil, value, expiry.Add(time.Duration(i)*time.Second)); err != nil {
			b.Fatal(err)
		}
	}
	return s, keys
}

// BenchmarkGet reads one record again and again, or all of them in turn, which
// finds nothing in the processor's caches. Allocating and copying the value is
// most of the cost: BenchmarkCopy is that alone.
func BenchmarkGet(b *testing.B) {
	for _, bb := range []struct {
		name  string
		size  int
		reads int
	}{
		{"64 B, one record", 64, 1},
		{"1 KB, one record", 1 << 10, 1},
		{"64 B, all records", 64, benchEntries},
		{"1 KB, all records", 1 << 10, benchEntries},
	} {
		b.Run(bb.name, func(b *testing.B) {
			s, keys := filled(b, bb.size)
			ctx := context.Background()
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if _, _, err := s.Get(ctx, keys[i%bb.reads]); err != nil {
					b.Fatal(err)
				}
				i++
			}
		})
	}
}

func BenchmarkCopy(b *testing.B) {
	values := make([][]byte, benchEntries)
	for i := range values {
		values[i] = make([]byte, 1<<10)
	}
	b.ReportAllocs()
	i, total := 0, 0
	for b.Loop() {
		total += len(bytes.Clone(values[i%benchEntries]))
		i++
	}
	if total == 0 {
		b.Fatal("nothing was copied")
	}
}

func BenchmarkGetParallel(b *testing.B) {
	s, keys := filled(b, 1<<10)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		ctx := context.Background()
		for i := 0; pb.Next(); i++ {
			if _, _, err := s.Get(ctx, keys[i%benchEntries]); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// BenchmarkMixedParallel is nine reads to one update.
func BenchmarkMixedParallel(b *testing.B) {
	s, keys := filled(b, 1<<10)
	expiry := time.Now().Add(2 * time.Hour)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		ctx := context.Background()
		for i := 0; pb.Next(); i++ {
			key := keys[i%benchEntries]
			value, _, err := s.Get(ctx, key)
			if err == nil && i%10 == 0 {
				err = s.Swap(ctx, key, value, value, expiry)
			}
			if err != nil && !errors.Is(err, store.ErrConflict) {
				b.Error(err)
				return
			}
		}
	})
}

// BenchmarkSwapUpdate moves each record to the far end of the expiry order.
func BenchmarkSwapUpdate(b *testing.B) {
	s, keys := filled(b, 1<<10)
	value := make([]byte, 1<<10)
	expiry := time.Now().Add(100 * time.Hour)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		expiry = expiry.Add(time.Millisecond)
		if err := s.Swap(b.Context(), keys[i%benchEntries], value, value, expiry); err != nil {
			b.Fatal(err)
		}
		i++
	}
}

func BenchmarkSwapCreateDelete(b *testing.B) {
	s, _ := filled(b, 1<<10)
	value := make([]byte, 1<<10)
	expiry := time.Now().Add(time.Minute)
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Swap(b.Context(), "attempt:1", nil, value, expiry); err != nil {
			b.Fatal(err)
		}
		if err := s.Swap(b.Context(), "attempt:1", value, nil, time.Time{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLock(b *testing.B) {
	s := memstore.New(memstore.Config{})
	b.ReportAllocs()
	for b.Loop() {
		unlock, err := s.Lock(b.Context(), "session:1", time.Minute)
		if err != nil {
			b.Fatal(err)
		}
		unlock()
	}
}

// BenchmarkLockContended is two or more callers per core that hand one lock on.
func BenchmarkLockContended(b *testing.B) {
	s := memstore.New(memstore.Config{})
	b.SetParallelism(2)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		ctx := context.Background()
		for pb.Next() {
			unlock, err := s.Lock(ctx, "session:1", time.Minute)
			if err != nil {
				b.Error(err)
				return
			}
			unlock()
		}
	})
}
