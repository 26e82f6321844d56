package memstore_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/testclock"
	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/memstore"
	"github.com/mcpoauth/mcpoauth/store/storetest"
)

func newClock() *testclock.Clock { return testclock.New(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)) }

func TestContractWithInjectedClock(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(testing.TB) storetest.Backend {
		c := newClock()
		s := memstore.New(memstore.Config{Now: c.Now})
		return storetest.Backend{
			Store:    s,
			Isolated: memstore.New(memstore.Config{Now: c.Now}),
			Now:      c.Now,
			Advance: func(d time.Duration) {
				c.Advance(d)
				s.Sweep()
			},
		}
	})
}

func TestContractWithRealClock(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(testing.TB) storetest.Backend {
		return storetest.Backend{
			Store:    memstore.New(memstore.Config{}),
			Isolated: memstore.New(memstore.Config{}),
		}
	})
}

func TestStoreIsEphemeral(t *testing.T) {
	t.Parallel()
	var s store.Ephemeral = memstore.New(memstore.Config{})
	require.True(t, s.Ephemeral())
}

func TestFullStoreCreatesNothingAndEvictsNothing(t *testing.T) {
	t.Parallel()
	c := newClock()
	s := memstore.New(memstore.Config{MaxEntries: 2, Now: c.Now})
	create := func(key string, life time.Duration) error {
		return s.Swap(t.Context(), key, nil, []byte("v"), c.Now().Add(life))
	}
	require.NoError(t, create("a", time.Minute))
	require.NoError(t, create("b", time.Hour))

	require.ErrorIs(t, create("c", time.Hour), store.ErrFull, "creating in a full store")
	require.Equal(t, 2, s.Len())
	for _, key := range []string{"a", "b"} {
		_, _, err := s.Get(t.Context(), key)
		require.NoError(t, err, "a live record was evicted")
	}
	require.ErrorIs(t, create("a", time.Hour), store.ErrConflict, "the comparison comes before the bound")
	require.NoError(t, s.Swap(t.Context(), "b", []byte("v"), []byte("w"), c.Now().Add(time.Hour)),
		"replacing needs no room")
	require.NoError(t, create("c", -time.Hour), "what has expired at once needs no room")

	c.Advance(time.Minute)
	require.NoError(t, create("c", time.Hour), "an expired record makes room")
	require.Equal(t, 2, s.Len())
	require.ErrorIs(t, create("d", time.Hour), store.ErrFull, "creating in a full store")
	require.NoError(t, s.Delete(t.Context(), "b"))
	require.NoError(t, create("d", time.Hour), "a deleted record makes room")
}

// TestFullUnderRace has many more creators than there is room, each of its own
// record.
func TestFullUnderRace(t *testing.T) {
	t.Parallel()
	const room, creators = 10, 40
	s := memstore.New(memstore.Config{MaxEntries: room})
	errs := make([]error, creators)
	var wg sync.WaitGroup
	for i := range creators {
		wg.Go(func() {
			errs[i] = s.Swap(t.Context(), strconv.Itoa(i), nil, []byte("v"), time.Now().Add(time.Hour))
		})
	}
	wg.Wait()
	created := 0
	for _, err := range errs {
		if err == nil {
			created++
			continue
		}
		require.ErrorIs(t, err, store.ErrFull)
	}
	require.Equal(t, room, created)
	require.Equal(t, room, s.Len())
}

func TestValueTooLong(t *testing.T) {
	t.Parallel()
	s := memstore.New(memstore.Config{MaxValueBytes: 8})
	expiry := time.Now().Add(time.Hour)
	require.NoError(t, s.Swap(t.Context(), "k", nil, []byte("12345678"), expiry))
	for _, old := range [][]byte{nil, []byte("12345678")} {
		err := s.Swap(t.Context(), "k", old, []byte("123456789"), expiry)
		require.ErrorIs(t, err, store.ErrInvalid)
		require.EqualError(t, err, "store: value of 9 bytes, MaxValueBytes allows 8")
	}
	value, _, err := s.Get(t.Context(), "k")
	require.NoError(t, err)
	require.Equal(t, "12345678", string(value))
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	s := memstore.New(memstore.Config{})
	expiry := time.Now().Add(time.Hour)
	require.NoError(t, s.Swap(t.Context(), "largest", nil, make([]byte, 256<<10), expiry))
	require.ErrorIs(t, s.Swap(t.Context(), "larger", nil, make([]byte, 256<<10+1), expiry), store.ErrInvalid)
	for i := range 100_000 - 1 {
		require.NoError(t, s.Swap(t.Context(), strconv.Itoa(i), nil, []byte{}, expiry))
	}
	require.ErrorIs(t, s.Swap(t.Context(), "more", nil, []byte{}, expiry), store.ErrFull)
}

func TestNegativeLimits(t *testing.T) {
	t.Parallel()
	require.PanicsWithValue(t, "memstore: Config.MaxEntries: is negative", func() { memstore.New(memstore.Config{MaxEntries: -1}) })
	require.PanicsWithValue(t, "memstore: Config.MaxValueBytes: is negative", func() { memstore.New(memstore.Config{MaxValueBytes: -1}) })
}

// TestWritesReclaim shows that a backlog of expired records goes away without
// a caller asking for it, while no single write pays for all of it.
func TestWritesReclaim(t *testing.T) {
	t.Parallel()
	const backlog = 100
	c := newClock()
	s := memstore.New(memstore.Config{Now: c.Now})
	for i := range backlog {
		require.NoError(t, s.Swap(t.Context(), strconv.Itoa(i), nil, []byte("v"), c.Now().Add(time.Minute)))
	}
	c.Advance(time.Hour)
	_, _, err := s.Get(t.Context(), "0")
	require.ErrorIs(t, err, store.ErrNotFound)
	require.Equal(t, backlog, s.Len(), "reading reclaims nothing")

	for i := range backlog / 4 {
		before := s.Len()
		key := fmt.Sprintf("new %d", i)
		require.NoError(t, s.Swap(t.Context(), key, nil, []byte("v"), c.Now().Add(time.Minute)))
		require.LessOrEqual(t, before-s.Len(), 8, "one write reclaims a few records only")
	}
	require.Equal(t, backlog/4, s.Len(), "what is left are the new records")
}

func TestDeleteReclaims(t *testing.T) {
	t.Parallel()
	c := newClock()
	s := memstore.New(memstore.Config{Now: c.Now})
	require.NoError(t, s.Swap(t.Context(), "k", nil, []byte("v"), c.Now().Add(time.Minute)))
	c.Advance(time.Minute)
	require.NoError(t, s.Delete(t.Context(), "another"))
	require.Zero(t, s.Len())
}

func TestSweepDropsExpiredOnly(t *testing.T) {
	t.Parallel()
	c := newClock()
	s := memstore.New(memstore.Config{Now: c.Now})
	const n = 50
	for i := range n {
		life := time.Duration(1+i) * time.Minute
		require.NoError(t, s.Swap(t.Context(), strconv.Itoa(i), nil, []byte("v"), c.Now().Add(life)))
	}
	for i := range n {
		s.Sweep()
		require.Equal(t, n-i, s.Len())
		c.Advance(time.Minute)
	}
	s.Sweep()
	require.Zero(t, s.Len())
}

// TestAgainstModel compares long random histories with a plain map.
func TestAgainstModel(t *testing.T) {
	t.Parallel()
	type record struct {
		value  string
		expiry time.Time
	}
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 0))
	c := newClock()
	const room = 12
	s := memstore.New(memstore.Config{MaxEntries: room, Now: c.Now})
	model := make(map[string]record)
	for range 20_000 {
		for key, r := range model {
			if !c.Now().Before(r.expiry) {
				delete(model, key)
			}
		}
		key := strconv.Itoa(rnd.IntN(2 * room))
		live, exists := model[key]
		switch rnd.IntN(5) {
		case 0:
			c.Advance(time.Duration(rnd.IntN(20)) * time.Second)
		case 1:
			require.NoError(t, s.Delete(t.Context(), key), "seed %d", seed)
			delete(model, key)
		case 2:
			value, _, err := s.Get(t.Context(), key)
			require.Equal(t, exists, err == nil, "seed %d", seed)
			require.Equal(t, live.value, string(value), "seed %d", seed)
		default:
			next := record{strconv.Itoa(rnd.IntN(3)), c.Now().Add(time.Duration(rnd.IntN(100)-5) * time.Second)}
			var old []byte
			if rnd.IntN(3) > 0 {
				old = []byte(strconv.Itoa(rnd.IntN(3)))
			}
			var want error
			switch {
			case exists != (old != nil) || exists && live.value != string(old):
				want = store.ErrConflict
			case !exists && len(model) == room && c.Now().Before(next.expiry):
				want = store.ErrFull
			default:
				model[key] = next
			}
			err := s.Swap(t.Context(), key, old, []byte(next.value), next.expiry)
			require.Equal(t, want, err, "seed %d", seed)
		}
	}
}

func TestDefaultClock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(memstore.Config{})
		require.NoError(t, s.Swap(t.Context(), "k", nil, []byte("v"), time.Now().Add(time.Hour)))
		time.Sleep(time.Hour - time.Nanosecond)
		_, _, err := s.Get(t.Context(), "k")
		require.NoError(t, err)
		time.Sleep(time.Nanosecond)
		_, _, err = s.Get(t.Context(), "k")
		require.ErrorIs(t, err, store.ErrNotFound)
	})
}

// TestKeysPinNothing checks that a key cut out of something large does not
// keep the large thing in memory.
func TestKeysPinNothing(t *testing.T) {
	t.Parallel()
	s := memstore.New(memstore.Config{})
	collected := make(chan struct{})
	func() {
		request := strings.Repeat("x", 1<<20)
		runtime.AddCleanup(unsafe.StringData(request), func(c chan struct{}) { close(c) }, collected)
		key := request[10:20]
		require.NoError(t, s.Swap(t.Context(), key, nil, []byte("v"), time.Now().Add(time.Hour)))
		_, err := s.Lock(t.Context(), key, time.Hour)
		require.NoError(t, err)
	}()
	runtime.GC()
	select {
	case <-collected:
	case <-time.After(time.Minute):
		t.Fatal("the request is still in memory")
	}
	require.Equal(t, 1, s.Len())
	require.Equal(t, 1, s.HeldLocks())
}
