package hybridstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/redistest"
	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/hybridstore"
	"github.com/mcpoauth/mcpoauth/store/redisstore"
)

// steps has a store do things in the middle of its own replay: each when what is
// sent to Redis contains its text, one after the other.
type steps struct {
	next atomic.Int32
	all  []step
}

type step struct {
	text string
	do   func()
}

func (s *steps) sending(p []byte) {
	n := s.next.Load()
	if int(n) < len(s.all) && bytes.Contains(p, []byte(s.all[n].text)) && s.next.CompareAndSwap(n, n+1) {
		s.all[n].do()
	}
}

func (s *steps) done() bool { return int(s.next.Load()) == len(s.all) }

// TestRemovedBetweenRounds has a session be created while Redis is away, changed
// while it is replayed, and removed through another replica before the change is
// replayed, too.
func TestRemovedBetweenRounds(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	other := plain(t, server)
	server.Kill()
	var s *hybridstore.Store
	script := &steps{}
	script.all = []step{
		{"value-1", func() { update(t, s, "session", "value-1", "value-2") }},
		{"value-2", func() { _ = other.Delete(context.Background(), "session") }},
	}
	s, _ = open(t, onWire(server.Addr(), nil, script.sending))
	create(t, s, "session", "value-1")
	require.NoError(t, server.Restart())
	waitConnected(t, s)
	require.True(t, script.done())
	requireAbsent(t, other, "session")
	requireEventuallyAbsent(t, s, "session")
}

// TestDataLostAgain has Redis lose its data a second time before all of them were
// read again.
func TestDataLostAgain(t *testing.T) {
	t.Parallel()
	const records = 1000
	for name, between := range map[string]func(*redistest.Proxy){
		"at once": func(*redistest.Proxy) {},
		"while they are read": func(p *redistest.Proxy) {
			p.Delay(2 * time.Millisecond)
			time.Sleep(50 * time.Millisecond)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Run(t, redistest.Options{})
			proxy := redistest.RunProxy(t, server.Addr())
			s, log := open(t, onURL(server.URLAt(proxy.Addr())))
			for i := range records {
				create(t, s, strconv.Itoa(i), "v")
			}
			for range 3 {
				server.Kill()
				waitAway(t, s)
				require.NoError(t, server.RestartEmpty())
				waitConnected(t, s)
				between(proxy)
			}
			proxy.Heal()
			for i := range records {
				requireValue(t, s, strconv.Itoa(i), "v")
			}
			require.NotContains(t, log.String(), "Redis wins")
		})
	}
}

// filled creates so many records that what is created before and after them is not
// sent at the same time.
func filled(t *testing.T, s store.SessionStore) {
	t.Helper()
	for i := range 1000 {
		create(t, s, fmt.Sprint("filler", i), "v")
	}
}

// TestDataLostDuringReplay has Redis lose its data when a part of the changes has
// been replayed, by a store that Redis was never in service for.
func TestDataLostDuringReplay(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	server.Kill()
	script := &steps{all: []step{{"other-value", server.Kill}}}
	s, _ := open(t, onWire(server.Addr(), nil, script.sending))
	create(t, s, "session", "value-1")
	filled(t, s)
	create(t, s, "other", "other-value")
	require.NoError(t, server.Restart())
	eventually(t, "the replay is not interrupted", script.done)
	require.NoError(t, server.RestartEmpty())
	waitConnected(t, s)
	requireEventually(t, plain(t, server), "other", "other-value")
	requireEventually(t, plain(t, server), "session", "value-1")
}

// TestReplayedAndChangedElsewhere has a change be replayed in an attempt that
// failed, another replica go on from there, and Redis lose its data before the
// one that was away is back. What that one remembers is not what counts.
func TestReplayedAndChangedElsewhere(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	proxy, proxyB := redistest.RunProxy(t, server.Addr()), redistest.RunProxy(t, server.Addr())
	script := &steps{all: []step{{"other-value", proxy.Cut}}}
	a, _ := open(t, onWire(proxy.Addr(), nil, script.sending))
	b, _ := open(t, onURL(server.URLAt(proxyB.Addr())))
	a.SetMerge(newerWins)
	b.SetMerge(newerWins)
	create(t, a, "session", "value-0")
	requireValue(t, b, "session", "value-0")
	proxy.Cut()
	waitAway(t, a)
	update(t, a, "session", "value-0", "value-1")
	filled(t, a)
	create(t, a, "other", "other-value")
	proxy.Heal()
	eventually(t, "the replay is not interrupted", script.done)
	require.False(t, a.IsRedisConnected())
	requireEventually(t, b, "session", "value-1")
	update(t, b, "session", "value-1", "value-2")
	update(t, b, "session", "value-2", "value-3")
	proxyB.Cut()
	waitAway(t, b)
	require.NoError(t, server.RestartEmpty())
	proxy.Heal()
	waitConnected(t, a)
	proxyB.Heal()
	waitConnected(t, b)
	requireEventually(t, b, "session", "value-3")
	requireEventually(t, a, "session", "value-3")
}

// TestDeletedAfterALoss has a session be restored by one replica and removed
// there before another one that knows it is back.
func TestDeletedAfterALoss(t *testing.T) {
	t.Parallel()
	for name, changed := range map[string]bool{"as it was": false, "changed meanwhile": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Run(t, redistest.Options{})
			proxy := redistest.RunProxy(t, server.Addr())
			a, _ := open(t, onURL(server.URLAt(proxy.Addr())))
			b, _ := open(t, onURL(server.URL()))
			create(t, a, "session", "v")
			requireValue(t, b, "session", "v")
			proxy.Cut()
			waitAway(t, a)
			if changed {
				update(t, a, "session", "v", "w")
			}
			require.NoError(t, server.RestartEmpty())
			requireEventually(t, plain(t, server), "session", "v")
			waitConnected(t, b)
			require.NoError(t, b.Delete(t.Context(), "session"))
			proxy.Heal()
			waitConnected(t, a)
			for _, view := range []store.SessionStore{plain(t, server), a, b} {
				requireEventuallyAbsent(t, view, "session")
			}
			requireAbsent(t, plain(t, server), "session")
		})
	}
}

// TestDeletedWhileItsCreationIsReplayed has a record be deleted by Swap when Redis
// has not heard of it, as far as this replica knows, and is about to.
func TestDeletedWhileItsCreationIsReplayed(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	server.Kill()
	var s *hybridstore.Store
	script := &steps{}
	script.all = []step{{"value-1", func() {
		if err := s.Swap(context.Background(), "k", []byte("value-1"), nil, time.Time{}); err != nil {
			t.Error(err)
		}
	}}}
	s, _ = open(t, onWire(server.Addr(), nil, script.sending))
	create(t, s, "k", "value-1")
	require.NoError(t, server.Restart())
	waitConnected(t, s)
	require.True(t, script.done())
	requireAbsent(t, s, "k")
	requireAbsent(t, plain(t, server), "k")
}

// TestQueueKeepsNobodyOut has many wait for a lock that this replica grants itself
// when Redis is back: that holds up Redis for one of them at most.
func TestQueueKeepsNobodyOut(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	server.Kill()
	s, _ := open(t, onURL(server.URL()))
	var inMemory atomic.Int32
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			unlock, err := s.Lock(context.Background(), "k", time.Minute)
			if err != nil {
				t.Error(err)
				return
			}
			defer unlock()
			if !s.IsRedisConnected() {
				inMemory.Add(1)
				time.Sleep(time.Second) // a slow server
			}
		})
	}
	time.Sleep(100 * time.Millisecond)
	require.NoError(t, server.Restart())
	wg.Wait()
	require.LessOrEqual(t, inMemory.Load(), int32(2))
	require.True(t, s.IsRedisConnected())
}

// TestNewReplicaWaitsForHolders has a replica start after Redis has lost its data,
// and with them the lease of a holder that has not noticed yet.
func TestNewReplicaWaitsForHolders(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	proxy := redistest.RunProxy(t, server.Addr())
	holder, _ := open(t, onURL(server.URLAt(proxy.Addr())))
	knows, _ := open(t, onURL(server.URL()))
	create(t, holder, "token", "refresh-1")
	requireValue(t, knows, "token", "refresh-1")
	unlock, err := holder.Lock(t.Context(), "token", time.Minute)
	require.NoError(t, err)
	defer unlock()
	proxy.Cut()
	waitAway(t, holder)
	require.NoError(t, server.RestartEmpty())
	requireEventually(t, plain(t, server), "token", "refresh-1")
	time.AfterFunc(time.Second, proxy.Heal)
	fresh, _ := open(t, onURL(server.URL()))
	requireEventually(t, fresh, "token", "refresh-1")
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
	defer cancel()
	_, err = fresh.Lock(ctx, "token", time.Minute)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

// TestHolderKeepsItsLock has Redis forget leases whose holder is well, while
// somebody else waits for the lock.
func TestHolderKeepsItsLock(t *testing.T) {
	t.Parallel()
	for name, forget := range map[string]func(server *redistest.Server, holder, waiter *redistest.Proxy) error{
		"all data lost, and the waiter is the first to notice": func(server *redistest.Server, holder, _ *redistest.Proxy) error {
			holder.Cut()
			err := server.RestartEmpty()
			time.Sleep(700 * time.Millisecond)
			holder.Heal()
			return err
		},
		"only the last moment lost": func(server *redistest.Server, _, waiter *redistest.Proxy) error {
			waiter.Cut()
			_, err := server.Do("DEL", "mcpoauth:l:token")
			server.Kill()
			waiter.Heal()
			time.Sleep(500 * time.Millisecond)
			return errors.Join(err, server.Restart())
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Run(t, redistest.Options{Persist: true})
			proxies := []*redistest.Proxy{redistest.RunProxy(t, server.Addr()), redistest.RunProxy(t, server.Addr())}
			holder, _ := open(t, onURL(server.URLAt(proxies[0].Addr())))
			waiter, _ := open(t, onURL(server.URLAt(proxies[1].Addr())))
			create(t, holder, "token", "refresh-1")
			requireValue(t, waiter, "token", "refresh-1")
			unlock, err := holder.Lock(t.Context(), "token", time.Minute)
			require.NoError(t, err)
			got := readUnderLock(waiter, "token")
			time.Sleep(100 * time.Millisecond)
			require.NoError(t, forget(server, proxies[0], proxies[1]))
			waitConnected(t, holder)
			waitConnected(t, waiter)
			time.Sleep(5 * time.Second) // longer than locks are held back
			update(t, holder, "token", "refresh-1", "refresh-2")
			unlock()
			require.Equal(t, "refresh-2<nil>", <-got)
		})
	}
}

// TestReadingUnderALock has Redis go away between the grant of a lock and the
// reading: what the previous holder wrote is known all the same.
func TestReadingUnderALock(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{Persist: true})
	proxy := redistest.RunProxy(t, server.Addr())
	s, _ := open(t, onURL(server.URLAt(proxy.Addr())))
	other := plain(t, server)
	create(t, s, "token", "refresh-1")
	for i := range 1500 {
		create(t, s, strconv.Itoa(i), "v")
	}
	proxy.Cut()
	waitAway(t, s)
	unlock, err := other.Lock(t.Context(), "token", time.Minute)
	require.NoError(t, err)
	update(t, other, "token", "refresh-1", "refresh-2")
	unlock()
	proxy.Heal()
	proxy.Delay(20 * time.Millisecond) // so that not all has been read again when the lock is granted
	waitConnected(t, s)
	unlock, err = s.Lock(t.Context(), "token", time.Minute)
	require.NoError(t, err)
	defer unlock()
	server.Kill()
	requireValue(t, s, "token", "refresh-2")
}

// TestLocalLockBesideThatOfRedis: a lock that Redis granted to this process is
// not granted again by the process itself.
func TestLocalLockBesideThatOfRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	config := onURL(server.URL())
	config.LocalLocks, config.LockPatience = true, 50*time.Millisecond
	s, _ := open(t, config)
	create(t, s, "token", "refresh-1")
	unlock, err := s.Lock(t.Context(), "token", time.Minute)
	require.NoError(t, err)
	server.Kill()
	waitAway(t, s)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err = s.Lock(ctx, "token", time.Minute)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	unlock()
	unlock, err = s.Lock(t.Context(), "token", time.Minute)
	require.NoError(t, err)
	unlock()
}

// TestWaitersNoticeAnOutageTogether, and not one after the other.
func TestWaitersNoticeAnOutageTogether(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	config := onURL(server.URL())
	config.LockPatience = -1
	s, _ := open(t, config)
	create(t, s, "token", "refresh-1")
	unlock, err := plain(t, server).Lock(t.Context(), "token", time.Minute)
	require.NoError(t, err)
	defer unlock()
	const waiters = 50 // would take 10 s
	var wg sync.WaitGroup
	for range waiters {
		wg.Go(func() {
			if _, err := s.Lock(context.Background(), "token", time.Minute); err == nil {
				t.Error("somebody else's lock was granted")
			}
		})
	}
	time.Sleep(200 * time.Millisecond)
	require.NoError(t, server.Pause())
	defer func() { _ = server.Resume() }()
	begun := time.Now()
	wg.Wait()
	require.Less(t, time.Since(begun), 5*time.Second)
}

// TestNewReplicaIsUnsure has a replica start after Redis has lost its data and
// before those who know them are back.
func TestNewReplicaIsUnsure(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	proxy := redistest.RunProxy(t, server.Addr())
	old, _ := open(t, onURL(server.URLAt(proxy.Addr())))
	create(t, old, "session", "v")
	proxy.Cut()
	waitAway(t, old)
	require.NoError(t, server.RestartEmpty())
	fresh, _ := open(t, onURL(server.URL()))
	_, _, err := fresh.Get(t.Context(), "session")
	require.ErrorIs(t, err, store.ErrUnsure)
	proxy.Heal()
	requireEventually(t, fresh, "session", "v")
	grownUp(t, server)
	later, _ := open(t, onURL(server.URL()))
	_, _, err = later.Get(t.Context(), "never existed")
	require.NotErrorIs(t, err, store.ErrUnsure)
}

// TestDeletedWhileLearning has records be deleted right after they were read for
// the first time: they are not remembered.
func TestDeletedWhileLearning(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	other := plain(t, server)
	var deleting atomic.Pointer[string]
	s, _ := open(t, onWire(server.Addr(), func(p []byte) error {
		if key := deleting.Load(); key != nil && bytes.Contains(p, []byte("the-value")) && deleting.CompareAndSwap(key, nil) {
			return other.Delete(context.Background(), *key)
		}
		return nil
	}, nil))
	const records = 200
	for i := range records {
		key := strconv.Itoa(i)
		create(t, other, key, "the-value")
		deleting.Store(&key)
		_, _, _ = s.Get(t.Context(), key)
	}
	time.Sleep(200 * time.Millisecond) // for what Redis tells of the last ones
	server.Kill()
	waitAway(t, s)
	for i := range records {
		requireAbsent(t, s, strconv.Itoa(i))
	}
}

// TestVerifyingIsNoUse: reading everything again after a reconnection does not
// change what is forgotten first.
func TestVerifyingIsNoUse(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	proxy := redistest.RunProxy(t, server.Addr())
	config := onURL(server.URLAt(proxy.Addr()))
	config.MaxEntries = 4
	s, _ := open(t, config)
	for i := range 4 {
		create(t, s, fmt.Sprint("k", i), "v")
	}
	requireValue(t, s, "k0", "v")
	require.NoError(t, server.ResetStats())
	proxy.Drop()
	eventually(t, "what is remembered is not read again", func() bool {
		stats, err := server.CommandStats()
		return err == nil && stats["client|caching"] >= 4
	})
	create(t, s, "k4", "v")
	server.Kill()
	waitAway(t, s)
	requireAbsent(t, s, "k1")
	for _, key := range []string{"k0", "k2", "k3", "k4"} {
		requireValue(t, s, key, "v")
	}
}

// TestRenewalOutlastsALoss has Redis lose its data, and with them the lease, while
// it is being renewed.
func TestRenewalOutlastsALoss(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	config := onURL(server.URL())
	config.Redis.RenewLocksFor = time.Minute
	s, _ := open(t, config)
	unlock, err := s.Lock(t.Context(), "k", 900*time.Millisecond)
	require.NoError(t, err)
	defer unlock()
	server.Kill()
	waitAway(t, s)
	time.Sleep(3300 * time.Millisecond) // the pause between attempts is 2 s by now
	require.NoError(t, server.RestartEmpty())
	waitConnected(t, s)
	time.Sleep(3 * time.Second)
	holder, err := server.Do("GET", "mcpoauth:l:k")
	require.NoError(t, err)
	require.NotNil(t, holder)
}

// TestForeignValue has somebody else's value be where a change is to go: that is
// logged, and does not keep Redis from coming back.
func TestForeignValue(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	proxy := redistest.RunProxy(t, server.Addr())
	s, log := open(t, onURL(server.URLAt(proxy.Addr())))
	for _, key := range []string{"changed", "deleted", "kept"} {
		create(t, s, key, "v")
	}
	proxy.Cut()
	waitAway(t, s)
	create(t, s, "created", "v")
	update(t, s, "changed", "v", "w")
	update(t, s, "kept", "v", "w")
	require.NoError(t, s.Swap(t.Context(), "deleted", []byte("v"), nil, time.Time{}))
	for _, key := range []string{"created", "changed", "deleted"} {
		_, err := server.Do("SET", "mcpoauth:v:"+key, "foreign")
		require.NoError(t, err)
	}
	proxy.Heal()
	waitConnected(t, s)
	requireValue(t, plain(t, server), "kept", "w")
	require.Contains(t, log.String(), "conflicts=3")
	require.NotContains(t, log.String(), "❌ Redis refuses")
	_, _, err := s.Get(t.Context(), "created")
	require.ErrorIs(t, err, redisstore.ErrForeign)
}

// grownUp makes the data in Redis so old that what is absent is gone.
func grownUp(t testing.TB, server *redistest.Server) { grownUpUnder(t, server, "mcpoauth:") }

func grownUpUnder(t testing.TB, server *redistest.Server, prefix string) {
	t.Helper()
	s, err := redisstore.New(redisstore.Config{URL: server.URL(), KeyPrefix: prefix})
	require.NoError(t, err)
	defer s.Close()
	_, err = s.Epoch(t.Context())
	require.NoError(t, err)
	_, err = server.Do("DEL", prefix+"epoch:young")
	require.NoError(t, err)
}

// TestRemovedAfterALostAnswer has the creation of a session arrive but its answer
// be lost, and the session be removed through another replica before the creation
// is tried again.
func TestRemovedAfterALostAnswer(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	proxy := redistest.RunProxy(t, server.Addr())
	var dead, once atomic.Bool
	s, _ := open(t, onWire(proxy.Addr(), func([]byte) error {
		if dead.Load() {
			return errDead
		}
		return nil
	}, func(p []byte) {
		if bytes.Contains(p, []byte("the-value")) && once.CompareAndSwap(false, true) {
			dead.Store(true)
		}
	}))
	other, _ := open(t, onURL(server.URL()))
	create(t, s, "scripts", "are loaded")
	create(t, s, "session", "the-value")
	require.False(t, s.IsRedisConnected())
	requireEventually(t, other, "session", "the-value")
	proxy.Cut()
	require.NoError(t, other.Delete(t.Context(), "session"))
	dead.Store(false)
	proxy.Heal()
	waitConnected(t, s)
	requireAbsent(t, plain(t, server), "session")
	requireEventuallyAbsent(t, s, "session")
}

// TestDeletedFromAFullRedis: whoever wants to leave can.
func TestDeletedFromAFullRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	s, _ := open(t, onURL(server.URL()))
	create(t, s, "session", "v")
	_, err := server.Do("CONFIG", "SET", "maxmemory", "1")
	require.NoError(t, err)
	require.Error(t, s.Swap(t.Context(), "another", nil, []byte("v"), later()))
	require.NoError(t, s.Delete(t.Context(), "session"))
	require.True(t, s.IsRedisConnected())
	requireAbsent(t, plain(t, server), "session")
}
