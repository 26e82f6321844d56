package httpapi

import (
	"encoding/base64"
	"encoding/binary"
	"strconv"
	"time"
)

const (
	// rateWindow is the time that the limits are for.
	rateWindow = time.Minute

	// maxRateKeys bounds the callers of one kind that have a tally of their own
	// in one minute, and with them the memory of a limiter. Further ones share
	// sharedTallies tallies, chosen by hash: no count begins again.
	maxRateKeys   = 100_000
	sharedTallies = 1024

	// rateKeyLen is the length of the keys, which are hashes.
	rateKeyLen = 16
)

type rateKey [rateKeyLen]byte

// tally is what a replica knows of one caller's requests in one minute.
type tally struct {
	total             int64 // reserved by all replicas, when the store was last asked
	credit            int64 // reserved by this replica, and not used yet
	used              int64 // by this replica
	unreported        int64 // part of total that is not counted in the store yet
	portion           int64 // the last one
	previous          int64 // total of the last minute
	previousFromStore bool  // previous comes from the store; else from this replica alone
	refusedUntil      time.Time
	asking            chan struct{} // closed with the store's answer; nil if it is not being asked
	waiting           int64         // requests that wait for that answer
}

// nextPortion returns how many requests to reserve of the room: the requests that
// the limit still allows.
func (t *tally) nextPortion(room int64) int64 {
	t.portion = max(1, min(2*t.portion, room/portionPart))
	return max(t.portion, min(t.waiting+1, room))
}

// tallies are those of one kind of callers.
type tallies struct {
	current, last map[rateKey]*tally
}

// tally returns the tally of a caller, and its key in the store. The caller
// holds mu.
func (l *limiter) tally(key rateKey, named bool, now time.Time) (*tally, rateKey) {
	l.turn(now)
	ts := &l.addresses
	if named {
		ts = &l.owners
	}
	t := ts.current[key]
	if t == nil && len(ts.current) >= maxRateKeys {
		key = sharedKey(key)
		t = ts.current[key]
	}
	if t == nil {
		t = &tally{portion: l.limit / (2 * firstPortionPart)}
		if last := ts.last[key]; last != nil {
			t.previous = min(last.total, l.limit)
			t.portion = (last.used + 1) / 2 // begins with what was used
		}
		ts.current[key] = t
	}
	return t, key
}

// sharedKey is the key of a tally that a caller shares with others.
func sharedKey(key rateKey) (shared rateKey) {
	binary.BigEndian.PutUint16(shared[:], binary.BigEndian.Uint16(key[:])%sharedTallies)
	return shared
}

// turn begins a minute. The caller holds mu.
func (l *limiter) turn(now time.Time) {
	window := now.UnixMilli() / rateWindow.Milliseconds()
	if window <= l.window {
		return
	}
	for _, ts := range []*tallies{&l.owners, &l.addresses} {
		if ts.last = nil; window == l.window+1 {
			ts.last = ts.current
		}
		ts.current = make(map[rateKey]*tally)
	}
	l.window = window
}

// elapsed is how many milliseconds of a minute have passed.
func elapsed(window int64, now time.Time) int64 {
	return min(max(now.UnixMilli()-window*rateWindow.Milliseconds(), 0), rateWindow.Milliseconds())
}

// allowedBy is how many requests a minute may have had after that many of its
// milliseconds: the limit without the part of the last minute's that is not a
// minute ago yet, which is rounded.
func allowedBy(limit, previous, elapsed int64) int64 {
	whole := rateWindow.Milliseconds()
	return limit - (2*previous*(whole-elapsed)+whole)/(2*whole)
}

// room is how many requests more may be reserved, as far as this replica knows.
func (l *limiter) room(t *tally, now time.Time) int64 {
	return allowedBy(l.limit, t.previous, elapsed(l.window, now)) - t.total
}

// verdict is the answer about one request.
func (l *limiter) verdict(t *tally, now time.Time, allowed bool) verdict {
	v := verdict{allowed: allowed, reset: time.UnixMilli((l.window + 1) * rateWindow.Milliseconds())}
	if allowed {
		v.remaining = t.credit + max(l.room(t, now), 0)
		return v
	}
	v.wait = max(l.nextRoom(t).Sub(now), t.refusedUntil.Sub(now), time.Second)
	return v
}

// nextRoom is when the next request may pass if there are no others until then.
func (l *limiter) nextRoom(t *tally) time.Time {
	window, previous, room := l.window, t.previous, l.limit-t.total-1
	if room < 0 { // not in this minute, which will be the last one then
		window, previous, room = window+1, min(t.total, l.limit), l.limit-1
	}
	whole := rateWindow.Milliseconds()
	after := int64(0)
	if previous > 0 {
		// What allowedBy rounds must have fallen below room and a half.
		after = max(whole-(whole*(2*room+1)+2*previous-1)/(2*previous)+1, 0)
	}
	return time.UnixMilli(window*whole + after)
}

func (l *limiter) storeKey(key rateKey, window int64) string {
	return "rate:" + l.name + ":" + strconv.FormatInt(window*int64(rateWindow.Seconds()), 10) + ":" + base64.RawURLEncoding.EncodeToString(key[:])
}

// expiry of a minute's count: it is looked at in the next minute.
func (l *limiter) expiry(window int64) time.Time {
	return time.UnixMilli((window + 2) * rateWindow.Milliseconds())
}
