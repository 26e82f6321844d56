package redis

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"math"
	"math/rand/v2"
	"time"

	"github.com/redis/rueidis"
)

// script is a Lua script, which Redis executes as one step.
type script struct {
	text string
	sha  string
}

func newScript(text string) script {
	sum := sha1.Sum([]byte(text)) // Redis's name for it; nothing depends on its strength
	return script{text: text, sha: hex.EncodeToString(sum[:])}
}

var (
	// swapScript replaces the value ARGV[2], or with ARGV[1] '0' nothing, by
	// the record ARGV[3], or by nothing, until ARGV[4] in milliseconds. With
	// ARGV[5] it may have been sent before, and a record with its own stamp is
	// its own work, whatever the value. It returns 1, or 0 for a conflict.
	swapScript = newScript(`
local now, new = redis.call('GET', KEYS[1]), ARGV[3]
local own = now and ARGV[5] == '1' and new ~= '' and string.sub(now, 1, 8) == string.sub(new, 1, 8)
if not own then
  if now then
    if ARGV[1] == '0' or string.sub(now, 18) ~= ARGV[2] then return 0 end
  elseif ARGV[1] == '1' then
    return 0
  end
end
if new ~= '' then
  redis.call('SET', KEYS[1], new, 'PXAT', ARGV[4])
elseif now then
  redis.call('DEL', KEYS[1])
end
return 1`)

	// extendScript makes the record's expiry the eight bytes ARGV[1], which are
	// ARGV[2] + 1 in milliseconds, if that is later. It returns 0 if there is no
	// record. The bytes are compared one by one: Lua compares strings by locale.
	extendScript = newScript(`
local now = redis.call('GET', KEYS[1])
if not now then return 0 end
for i = 1, 8 do
  local old, new = string.byte(now, 8 + i), string.byte(ARGV[1], i)
  if not old or new < old then return 1 end
  if new > old then
    redis.call('SET', KEYS[1], string.sub(now, 1, 8) .. ARGV[1] .. string.sub(now, 17), 'PXAT', ARGV[2])
    return 1
  end
end
return 1`)

	// countScript adds ARGV[1] to a count, which lives until ARGV[2] in
	// milliseconds, and returns the total. It needs no command that records
	// do not need, for the sake of restricted users.
	countScript = newScript(`
local total = (tonumber(redis.call('GET', KEYS[1])) or 0) + tonumber(ARGV[1])
redis.call('SET', KEYS[1], string.format('%.0f', total), 'PXAT', ARGV[2])
return total`)

	// lockScript grants the lease KEYS[1] to the token ARGV[1] for ARGV[2]
	// milliseconds. It returns 0, or how many milliseconds another token's
	// lease has left.
	lockScript = newScript(`
local holder = redis.call('GET', KEYS[1])
if holder == ARGV[1] then return 0 end
if holder then return math.max(redis.call('PTTL', KEYS[1]), 1) end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 0`)

	// renewScript has the lease of the token ARGV[1] end ARGV[2] milliseconds
	// from now. It returns 0 if it has ended.
	renewScript = newScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])`)

	// unlockScript ends the lease of the token ARGV[1], and no other.
	unlockScript = newScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])`)
)

// sender is how a command for a key gets to Redis: Store.send or Store.ask.
type sender func(ctx context.Context, name string, cmd rueidis.Completed) (int64, error)

// write executes a script on a record, and run one on a lock.
func (s *Store) write(ctx context.Context, name string, sc script, args []string) (int64, error) {
	return s.execute(ctx, s.send, name, sc, args)
}

func (s *Store) run(ctx context.Context, name string, sc script, args ...string) (int64, error) {
	return s.execute(ctx, s.ask, name, sc, args)
}

// execute names the script, and sends it along if the server has forgotten it.
func (s *Store) execute(ctx context.Context, via sender, name string, sc script, args []string) (int64, error) {
	n, err := via(ctx, name, s.client.B().Evalsha().Sha1(sc.sha).Numkeys(1).Key(name).Arg(args...).Build())
	if server, ok := rueidis.IsRedisErr(err); ok && server.IsNoScript() {
		n, err = via(ctx, name, s.client.B().Eval().Script(sc.text).Numkeys(1).Key(name).Arg(args...).Build())
	}
	return n, err
}

// ask sends a command that the cache has nothing to do with.
func (s *Store) ask(ctx context.Context, _ string, cmd rueidis.Completed) (int64, error) {
	return s.client.Do(ctx, cmd).AsInt64()
}

// send sends a command that changes the record name. When it returns, the
// cache knows of the change.
//
// Redis tells a client about its own write after answering it, so a Get right
// after the answer could find the old value in the cache. On the one
// connection of an own client a second command in the same packet closes that
// gap: answers and invalidations come in order, and are processed in order.
func (s *Store) send(ctx context.Context, name string, cmd rueidis.Completed) (int64, error) {
	if !s.caching {
		return s.ask(ctx, name, cmd)
	}
	if !s.owned {
		n, err := s.ask(ctx, name, cmd)
		if err == nil {
			err = s.settle(ctx, name)
		}
		return n, err
	}
	answers := s.client.DoMulti(ctx, cmd, s.client.B().Exists().Key(name).Build())
	n, err := answers[0].AsInt64()
	if err == nil {
		err = answers[1].Error()
	}
	return n, err
}

// settle returns when the cache knows of every change to the record name that
// Redis made before settle was called: it asks for something on the connection
// that the cached copy of that record hangs on.
func (s *Store) settle(ctx context.Context, name string) error {
	switch {
	case !s.caching:
		return nil
	case s.owned:
		return s.client.Do(ctx, s.client.B().Exists().Key(name).Build()).Error()
	}
	// A borrowed client may have several connections. The one in question is
	// that of cached commands for this key; a range that was never asked for
	// is not in the cache.
	at := rand.Int64N(math.MaxInt64)
	return s.client.DoCache(ctx, s.client.B().Getrange().Key(name).Start(at).End(at).Cache(), time.Millisecond).Error()
}

// ordered reports whether an answer about one key also settles all others.
func (s *Store) ordered() bool {
	return s.owned && s.client.Mode() != rueidis.ClientModeCluster
}
