package hybridstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/internal/redis"
)

// servicePeriod is a time in which Redis is in service, without a break.
type servicePeriod struct {
	redis *redis.Store
	// locksFrom is when every other replica has had the time to come back, too:
	// the longest pause between attempts to reach Redis, and one attempt.
	locksFrom time.Time
	ended     context.Context // done when Redis goes out of service
	end       context.CancelFunc
}

// run connects, serves and reconnects until Close. It reports the outcome of the
// first attempt: nil once Redis is in service.
func (s *Store) run(first chan<- error) {
	var client *redis.Store
	defer func() {
		if p := s.takeOut(s.current.Load()); p != nil {
			p.end()
		}
		if client != nil {
			client.Close()
		}
	}()
	pause, away, refused := firstRetry, false, false
	for s.background.Err() == nil {
		var err error
		if client == nil {
			client, err = redis.New(s.background, redis.Config(s.cfg.Redis), s.changedElsewhere)
		} else {
			err = client.Ping(s.background)
		}
		if err == nil {
			s.serve(client, away, first)
			first, pause, away, refused = nil, firstRetry, true, false
			continue
		}
		if first != nil {
			first <- err
			if first = nil; !redis.IsOutage(err) {
				return
			}
		}
		away = true
		if !redis.IsOutage(err) && !refused && s.background.Err() == nil {
			refused = true
			s.log.Error("❌ Redis refuses", "error", err)
		}
		s.sleep(pause/2 + rand.N(pause/2)) // so that replicas do not march in step
		pause = min(2*pause, lastRetry)
	}
}

// sleep waits for d, or until Close.
func (s *Store) sleep(d time.Duration) {
	select {
	case <-time.After(d):
	case <-s.background.Done():
	}
}

// serve puts Redis into service, reports that to first unless first is nil, tells
// Redis of what has changed while it was away, and returns when Redis is out of
// service.
func (s *Store) serve(client *redis.Store, away bool, first chan<- error) {
	p := &servicePeriod{redis: client}
	p.ended, p.end = context.WithCancel(context.Background())
	if away {
		p.locksFrom = time.Now().Add(lastRetry + s.cfg.Redis.OpTimeout)
	}
	s.mu.Lock()
	s.replayed, s.lost = [removed + 1]int{}, 0
	s.current.Store(p)
	s.mu.Unlock()
	if first != nil {
		first <- nil
	}
	s.watches.All()
	s.replayAll(p)
	s.logReturn(p, away)
	ticker := time.NewTicker(checkInterval)
	defer ticker.Stop()
	for s.current.Load() == p {
		select {
		case <-s.background.Done():
			return
		case <-p.ended.Done():
			return
		case <-s.wakeUp:
		case <-ticker.C:
		}
		s.check(p)
		s.replayAll(p)
		s.mu.Lock()
		s.memory.reclaim(time.Now(), time.Minute)
		s.mu.Unlock()
	}
}

// check takes Redis out of service if it does not answer within OpTimeout. A lost
// connection alone is no outage.
func (s *Store) check(p *servicePeriod) {
	deadline := time.Now().Add(s.cfg.Redis.OpTimeout)
	for {
		err := p.redis.Ping(s.background)
		if err == nil || !redis.IsOutage(err) {
			return
		}
		if !time.Now().Before(deadline) {
			s.lose(s.background, p, err)
			return
		}
		s.sleep(firstRetry)
	}
}

// lose takes Redis out of service if err is an outage, and reports whether the
// operation that got err is to be tried in another way.
func (s *Store) lose(ctx context.Context, p *servicePeriod, err error) bool {
	if err == nil || ctx.Err() != nil || !redis.IsOutage(err) {
		return false
	}
	if s.takeOut(p) != nil {
		s.log.Error("❌ Redis is away: going on with memory", "error", err)
		p.end()
	}
	return true
}

// takeOut ends p if it is the current period, and returns nil if it is not.
func (s *Store) takeOut(p *servicePeriod) *servicePeriod {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p == nil || !s.current.CompareAndSwap(p, nil) {
		return nil
	}
	s.watches.All()
	return p
}

// look wakes serve, which checks the connection and replays the overlay now.
func (s *Store) look() {
	select {
	case s.wakeUp <- struct{}{}:
	default:
	}
}

// logReturn says that Redis is back.
func (s *Store) logReturn(p *servicePeriod, away bool) {
	s.mu.Lock()
	replayed, lost, waiting := s.replayed, s.lost, len(s.memory.overlay)
	s.mu.Unlock()
	if s.current.Load() != p {
		return
	}
	if lost > 0 {
		s.log.Warn("⚠️ changes of the outage are dropped: Redis has other ones", "changes", lost)
	}
	if !away {
		s.log.Info("✅ Redis is connected", "caching", p.redis.Caching())
		return
	}
	s.log.Info("✅ Redis is back", "caching", p.redis.Caching(), "created", replayed[created], "changed", replayed[changed], "extended", replayed[extended],
		"removed", replayed[removed], "waiting", waiting)
}

// replayers bounds how many changes are on their way to Redis at a time.
const replayers = 16

// replayAll writes to Redis all changes that were made while it was away, except those
// of records that are locked here.
func (s *Store) replayAll(p *servicePeriod) {
	s.mu.Lock()
	keys := make(chan string, len(s.memory.overlay))
	for key := range s.memory.overlay {
		keys <- key
	}
	s.mu.Unlock()
	close(keys)
	var wg sync.WaitGroup
	for range min(replayers, len(keys)) {
		wg.Go(func() {
			for key := range keys {
				if err := s.replay(s.background, p, key); err != nil && s.background.Err() == nil {
					s.log.Warn("⚠️ Redis does not take a change of the outage yet", "error", err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// replay writes the change of a key to Redis, unless that is done already or p is
// over. An error means that Redis refuses the change for now.
func (s *Store) replay(ctx context.Context, p *servicePeriod, key string) error {
	s.mu.Lock()
	e, under := s.memory.overlay[key], s.replaying[key]
	if e == nil || s.current.Load() != p || s.waits(key) {
		s.mu.Unlock()
		return nil
	}
	if under != nil {
		s.mu.Unlock()
		select {
		case <-under:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("hybridstore: waiting for a change to be replayed: %w", ctx.Err())
		}
	}
	done := make(chan struct{})
	s.replaying[key] = done
	sent := *e
	sent.sent, sent.place = true, nil
	_ = s.memory.put(&sent, time.Now())
	s.mu.Unlock()

	// Not the caller's context: others wait for the outcome.
	err := s.writeTo(s.background, p.redis, e)

	s.mu.Lock()
	delete(s.replaying, key)
	close(done)
	if !redis.IsOutage(err) {
		err = s.settle(&sent, err)
	}
	s.mu.Unlock()
	if s.lose(s.background, p, err) {
		return nil
	}
	return err
}

// writeTo writes the change of an entry to Redis.
func (s *Store) writeTo(ctx context.Context, to *redis.Store, e *entry) error {
	switch e.kind {
	case removed:
		return to.Delete(ctx, e.key)
	case extended:
		return to.Extend(ctx, e.key, e.expiry)
	case created:
		if e.replaces != nil {
			if err := to.Delete(ctx, e.key); err != nil {
				return err
			}
			s.tookRemoval(e)
		}
	}
	return to.Swap(ctx, e.key, redis.Write{Old: e.base, New: e.value, Expiry: e.expiry, Stamp: e.stamp, Sent: e.sent})
}

// tookRemoval notes that Redis has taken the removal that precedes the creation e.
// A second one could remove the creation, too.
func (s *Store) tookRemoval(e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.memory.entries[e.key]
	if now == nil || now.kind != created || now.stamp != e.stamp {
		return // removed again, in another outage
	}
	next := *now
	next.place, next.replaces = nil, nil
	_ = s.memory.put(&next, time.Now())
}

// settle notes the outcome of a replayed change. Where Redis has something else,
// Redis wins. The caller holds mu.
func (s *Store) settle(e *entry, err error) error {
	lost := errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrInvalid) || redis.IsUnknownOutcome(err)
	gone := errors.Is(err, store.ErrNotFound) // extended here, removed elsewhere
	if err != nil && !lost && !gone {
		return err
	}
	switch {
	case lost:
		s.lost++
	case !gone:
		s.replayed[e.kind]++
	}
	now := s.memory.entries[e.key]
	if now == nil || now.kind != e.kind || now.stamp != e.stamp || !bytes.Equal(now.value, e.value) || !now.expiry.Equal(e.expiry) {
		return nil // changed again, in another outage
	}
	if now.unlock != nil && s.background.Err() == nil {
		s.work.Go(now.unlock)
	}
	s.memory.drop(e.key)
	if err == nil && e.value != nil {
		next := &entry{key: e.key, value: e.value, expiry: e.expiry, stamp: e.stamp}
		return s.memory.put(next, time.Now())
	}
	return nil
}
