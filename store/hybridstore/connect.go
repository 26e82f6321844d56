package hybridstore

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mcpoauth/mcpoauth/store/redisstore"
)

// connection is what run knows from one time of service to the next.
type connection struct {
	redis *redisstore.Store // nil until the first success
	last  *link             // the last time of service
	terms uint64
	epoch string // of the last attempt
	lost  bool   // Redis has lost its data since the last time of service
	// away tells that Redis was not there before, so other replicas may have
	// something to replay.
	away bool
}

// run connects, watches and reconnects until Close. It reports the outcome of
// the first attempt.
func (s *Store) run(first chan<- error) {
	c := &connection{}
	defer func() {
		if l := s.link.Swap(nil); l != nil {
			l.end()
		}
		if c.redis != nil {
			c.redis.Close()
		}
	}()
	pause := firstRetry
	for s.background.Err() == nil {
		err := s.connect(c)
		if first != nil {
			first <- err
			first = nil
			if err != nil && !redisstore.IsOutage(err) {
				return
			}
		}
		if err == nil {
			pause = firstRetry
			s.watch(c)
			c.away = true
			continue
		}
		c.away = true
		switch {
		case s.background.Err() != nil:
		case errors.Is(err, errDataLost):
			s.log.Error("❌ Redis has lost its data: restoring what this replica knows")
		case !redisstore.IsOutage(err):
			s.log.Error("❌ Redis refuses", "error", err)
		}
		select {
		case <-time.After(pause):
		case <-s.background.Done():
		}
		pause = min(2*pause, lastRetry)
	}
}

// connect puts Redis into service, once everything that happened while it was
// away has been replayed.
func (s *Store) connect(c *connection) (err error) {
	select {
	case <-s.kick: // it was about the outage
	default:
	}
	if c.redis == nil {
		c.redis, err = redisstore.New(s.cfg.Redis)
	} else {
		err = c.redis.Ping(s.background)
	}
	if err != nil {
		return err
	}
	epoch, err := c.redis.Epoch(s.background)
	if err != nil {
		return err
	}
	c.lost = c.lost || c.epoch != "" && c.epoch != epoch
	c.epoch = epoch
	c.terms++
	r := &replay{s: s, redis: c.redis, epoch: epoch, lost: c.lost, term: c.terms}
	// Also a Redis that has kept its data may have lost the latest of them.
	if err := c.redis.Relock(s.background); err != nil {
		return err
	}
	if r.lost {
		if err := r.restore(c.last.provenFrom()); err != nil {
			return err
		}
	}
	defer func() {
		if err != nil {
			s.goneAgain()
		}
	}()
	if err := s.takeAlong(c.redis); err != nil {
		return err
	}
	l := newLink(c.redis, epoch)
	catchUp := lastRetry + s.cfg.Redis.OpTimeout // of other replicas, once Redis is there
	if c.away {
		l.locksFrom = time.Now().Add(catchUp)
	}
	young, err := c.redis.EpochIsYoungFor(s.background)
	if err != nil {
		return err
	}
	if r.lost {
		young = redisstore.YoungEpoch
	}
	l.sureFrom = time.Now().Add(young)
	if others := l.sureFrom.Add(catchUp - redisstore.YoungEpoch); others.After(l.locksFrom) {
		l.locksFrom = others // whose leases may have been lost with the data
	}
	if l.sureFrom.Before(l.locksFrom) {
		l.sureFrom = l.locksFrom // what others have created meanwhile
	}
	l.term.Store(c.terms)
	if err := r.changes(l); err != nil {
		return err
	}
	c.lost = false
	if c.last == nil {
		s.log.Info("✅ Redis is connected", "caching", c.redis.Caching(), "created", r.created.Load())
	} else {
		s.log.Info("✅ Redis is back", "restored", r.restored.Load(), "created", r.created.Load(), "updated", r.updated.Load(),
			"deleted", r.deleted.Load(), "merged", r.merged.Load(), "conflicts", r.conflicts.Load())
	}
	c.last = l
	s.verify(l)
	return nil
}

// watch returns when Redis is out of service.
func (s *Store) watch(c *connection) {
	ticker := time.NewTicker(checkInterval)
	defer ticker.Stop()
	for s.link.Load() == c.last {
		kicked := false
		select {
		case <-s.background.Done():
			return
		case <-s.kick:
			kicked = true
		case <-ticker.C:
		}
		if s.link.Load() != c.last || s.epochEnded(s.background, c.last) || s.background.Err() != nil {
			continue
		}
		if kicked {
			// The connection was made anew, perhaps to a Redis that has failed over:
			// nobody has told of changes meanwhile, and leases may be gone.
			_ = c.redis.Relock(s.background)
			c.terms++
			c.last.term.Store(c.terms)
			s.verify(c.last)
		}
	}
}

// verify reads again what is remembered from before this term, which forgets
// what has gone and has Redis tell of changes from here on.
func (s *Store) verify(l *link) {
	s.mu.Lock()
	entries := s.memory.settledEntries()
	s.mu.Unlock()
	term := l.term.Load()
	s.work.Go(func() {
		_ = inParallel(entries, func(e *entry) error {
			if s.link.Load() != l || l.term.Load() != term || s.background.Err() != nil {
				return ErrClosed // no more of this
			}
			if e.value != nil {
				_, _, _ = s.get(s.background, e.key)
			}
			return nil
		})
	})
}

// inParallel calls f for each item, for many at a time: each is a round trip.
// After the first error it calls f no more, and returns it.
func inParallel[T any](items []T, f func(T) error) (err error) {
	var wg sync.WaitGroup
	var failed atomic.Bool
	work := make(chan T)
	for range min(roundTrips, len(items)) {
		wg.Go(func() {
			for item := range work {
				if failed.Load() {
					continue
				}
				if failure := f(item); failure != nil && failed.CompareAndSwap(false, true) {
					err = failure
				}
			}
		})
	}
	for _, item := range items {
		work <- item
	}
	close(work)
	wg.Wait()
	return err
}
