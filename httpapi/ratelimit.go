package httpapi

import (
	"net/netip"
	"sync"
	"time"
)

// maxRateKeys bounds the memory of a rateLimiter.
const maxRateKeys = 100_000

// rateLimiter is a token bucket per key, kept as the time at which the bucket
// is full again (the generic cell rate algorithm). A bucket holds one minute's
// worth. A nil rateLimiter limits nothing.
type rateLimiter struct {
	interval time.Duration // in which one token comes back

	mu     sync.Mutex
	fullAt map[string]time.Time
}

// newRateLimiter allows perMinute; nil for a negative number.
func newRateLimiter(perMinute int) *rateLimiter {
	if perMinute < 0 {
		return nil
	}
	return &rateLimiter{interval: time.Minute / time.Duration(perMinute), fullAt: make(map[string]time.Time)}
}

// take takes a token and returns 0, or returns how long to wait for one. The
// empty key is not limited.
func (l *rateLimiter) take(key string, now time.Time) (wait time.Duration) {
	if l == nil || key == "" {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	fullAt := l.fullAt[key]
	if fullAt.Before(now) {
		fullAt = now
	}
	fullAt = fullAt.Add(l.interval)
	if wait := fullAt.Sub(now) - time.Minute; wait > 0 {
		return wait
	}
	if len(l.fullAt) >= maxRateKeys {
		l.shrink(now)
	}
	l.fullAt[key] = fullAt
	return 0
}

// shrink drops full buckets and, where that is not enough, half of the others,
// whichever: under such a flood being exact matters less than memory and time.
func (l *rateLimiter) shrink(now time.Time) {
	for key, fullAt := range l.fullAt {
		if !fullAt.After(now) {
			delete(l.fullAt, key)
		}
	}
	for key := range l.fullAt {
		if len(l.fullAt) <= maxRateKeys/2 {
			return
		}
		delete(l.fullAt, key)
	}
}

// rateKey names who the request counts for.
func (c *call) rateKey(owner string) string {
	switch {
	case c.h.cfg.RateKey != nil:
		return c.h.cfg.RateKey(c.r)
	case owner != "":
		return "owner " + owner
	}
	return addressKey(c.r.RemoteAddr)
}

// addressKey names the client that a connection comes from; empty when the
// address is no client's but that of a proxy nearby.
func addressKey(remote string) string {
	peer, err := netip.ParseAddrPort(remote)
	if err != nil {
		return ""
	}
	addr := peer.Addr().Unmap().WithZone("")
	sharedSpace := netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64}), 10) // RFC 6598
	if !addr.IsGlobalUnicast() || addr.IsPrivate() || addr.IsLoopback() || sharedSpace.Contains(addr) {
		return ""
	}
	bits := 64 // what one IPv6 customer has at least
	if addr.Is4() {
		bits = 32
	}
	prefix, err := addr.Prefix(bits)
	if err != nil {
		return ""
	}
	return prefix.String()
}
