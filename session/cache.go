package session

import (
	"container/list"
	"hash/maphash"
	"maps"
	"sync"
	"time"

	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// cache holds decoded records and their clients, the least recently used of
// which make room. It can lose everything at any time: the record in the store
// is the session.
type cache struct {
	limit int
	seed  maphash.Seed

	mu     sync.Mutex
	byKey  map[string]*list.Element
	order  *list.List // of *cached, most recently used first
	closed bool       // for good, by close
}

// cached is what a replica remembers of one session.
type cached struct {
	key    string
	value  uint64  // the hash of the stored bytes of record
	record *record // as last seen; nil if only status is known
	client *oauthclient.MCPOAuthClient
	sends  map[string]string // the headers that client sends
	status *statusDetail     // that could not be written to the record

	extending time.Time // when a call began to extend the session

	described map[string]description // of tools that were called, for Config.ToolFilter
	renamed   map[string]string      // tools by the name that models have for them
}

func newCache(limit int) *cache {
	return &cache{limit: limit, seed: maphash.MakeSeed(), byKey: make(map[string]*list.Element), order: list.New()}
}

// with calls fn with the entry of a session, which it makes if create is set.
func (c *cache) with(key string, create bool, fn func(*cached)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	element := c.byKey[key]
	switch {
	case element != nil:
		c.order.MoveToFront(element)
	case !create || c.closed:
		return
	default:
		element = c.order.PushFront(&cached{key: key})
		c.byKey[key] = element
		for c.order.Len() > c.limit {
			c.remove(c.order.Back())
		}
	}
	fn(element.Value.(*cached))
}

func (c *cache) remove(element *list.Element) {
	delete(c.byKey, element.Value.(*cached).key)
	c.order.Remove(element)
}

// record returns the record that value decodes to, if it was seen before.
func (c *cache) record(key string, value []byte) (r *record) {
	hash := maphash.Bytes(c.seed, value)
	c.with(key, false, func(entry *cached) {
		if entry.record != nil && entry.value == hash {
			r = entry.record
		}
	})
	return r
}

// saw remembers what value decodes to.
func (c *cache) saw(key string, value []byte, r *record) {
	hash := maphash.Bytes(c.seed, value)
	c.with(key, true, func(entry *cached) { entry.record, entry.value = r, hash })
}

// client returns the client of a session, if it serves the record.
func (c *cache) client(key string, r *record) (client *oauthclient.MCPOAuthClient) {
	c.with(key, false, func(entry *cached) {
		if entry.client != nil && entry.client.ServerURL() == r.ServerURL && entry.client.CallbackURL() == r.CallbackURL && maps.Equal(entry.sends, r.Headers) {
			client = entry.client
		}
	})
	return client
}

// setClient remembers a client, and returns it, or the one that another call
// has made in the meantime.
func (c *cache) setClient(key string, r *record, made *oauthclient.MCPOAuthClient) *oauthclient.MCPOAuthClient {
	if other := c.client(key, r); other != nil {
		return other
	}
	c.with(key, true, func(entry *cached) { entry.client, entry.sends = made, r.Headers })
	return made
}

// extendingPause is how long after one call has begun to extend a session no
// other call does.
const extendingPause = 10 * time.Second

// beginExtending reports whether a call should extend a session that is due. Of
// calls that come at once, one does.
func (c *cache) beginExtending(key string, now time.Time) (first bool) {
	first = true
	c.with(key, false, func(entry *cached) {
		if first = now.Sub(entry.extending) >= extendingPause; first {
			entry.extending = now
		}
	})
	return first
}

// setStatus remembers a status that could not be written; nil forgets it.
func (c *cache) setStatus(key string, status *statusDetail) {
	c.with(key, status != nil, func(entry *cached) { entry.status = status })
}

func (c *cache) unsaved(key string) (status *statusDetail) {
	c.with(key, false, func(entry *cached) { status = entry.status })
	return status
}

// drop forgets a session.
func (c *cache) drop(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if element := c.byKey[key]; element != nil {
		c.remove(element)
	}
}

// close forgets everything, and remembers nothing any more.
func (c *cache) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	clear(c.byKey)
	c.order.Init()
}
