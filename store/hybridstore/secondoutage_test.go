package hybridstore_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/redistest"
	"github.com/mcpoauth/mcpoauth/internal/testlog"
	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/hybridstore"
	"github.com/mcpoauth/mcpoauth/store/redisstore"
)

// replacedWhileAway returns a store that has removed a record of Redis, and created it
// again, while Redis is away.
func replacedWhileAway(t *testing.T, server *redistest.Server) (*hybridstore.Store, *testlog.Buffer, *redistest.Proxy) {
	t.Helper()
	s, log, proxy := cutOff(t, server, hybridstore.Config{})
	create(t, s, "replaced", "before")
	proxy.Cut()
	waitAway(t, s)
	require.NoError(t, s.Delete(t.Context(), "replaced"))
	create(t, s, "replaced", "new")
	return s, log, proxy
}

// Redis goes away again before it takes the removal that precedes a creation.
func TestReturn_RemovalBeforeACreationHoldsAfterASecondOutage(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	_, log, proxy := replacedWhileAway(t, server)
	do(t, server, "CLIENT", "PAUSE", "600000", "WRITE")
	proxy.Heal()
	eventually(t, "the second outage is never noticed", func() bool { return strings.Count(log.String(), "Redis is away") > 1 })
	proxy.Cut()
	eventually(t, "Redis keeps the connection on which the removal waits", func() bool {
		return strings.Count(do(t, server, "CLIENT", "LIST").(string), "id=") == 1
	})
	do(t, server, "CLIENT", "UNPAUSE")
	requireValue(t, plain(t, server), "replaced", "before") // the removal has not arrived
	proxy.Heal()
	waitLogged(t, log, "✅ Redis is back")
	requireValue(t, plain(t, server), "replaced", "new")
	require.NotContains(t, log.String(), "are dropped")
}

// Redis refuses the removal that precedes a creation for a while.
func TestReturn_RemovalBeforeACreationHoldsAfterARefusal(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	s, log, proxy := replacedWhileAway(t, server)
	do(t, server, "ACL", "SETUSER", "default", "-del")
	proxy.Heal()
	waitLogged(t, log, "Redis does not take a change of the outage yet")
	do(t, server, "ACL", "SETUSER", "default", "+del")
	requireEventually(t, s, "replaced", "new")
	requireValue(t, plain(t, server), "replaced", "new")
}

// Redis takes the removal, and refuses the creation for a while. What another replica
// creates in the meantime stays.
func TestReturn_RemovalBeforeACreationIsMadeOnce(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	do(t, server, "ACL", "SETUSER", "unrestricted", "on", "nopass", "~*", "&*", "+@all")
	other, err := redisstore.New(t.Context(), redisstore.Config{URL: "redis://unrestricted:any@" + server.Addr(), OpTimeout: time.Minute})
	require.NoError(t, err)
	t.Cleanup(other.Close)
	s, log, proxy := replacedWhileAway(t, server)
	do(t, server, "ACL", "SETUSER", "default", "-set")
	proxy.Heal()
	waitLogged(t, log, "Redis does not take a change of the outage yet")
	create(t, other, "replaced", "there")
	do(t, server, "ACL", "SETUSER", "default", "+set")
	requireEventually(t, s, "replaced", "there")
	requireValue(t, other, "replaced", "there")
}

// The creation expires during the outage, or is removed and would have expired. The
// record that was removed before it does not come back.
func TestReturn_RemovalBeforeACreationOutlivesIt(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(t *testing.T, s store.SessionStore){
		"expired":     func(*testing.T, store.SessionStore) {},
		"removed":     func(t *testing.T, s store.SessionStore) { require.NoError(t, s.Delete(t.Context(), "replaced")) },
		"swapped out": swapOut,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Run(t, redistest.Options{})
			s, log, proxy := cutOff(t, server, hybridstore.Config{})
			create(t, s, "replaced", "before")
			proxy.Cut()
			waitAway(t, s)
			require.NoError(t, s.Delete(t.Context(), "replaced"))
			expiry := time.Now().Add(500 * time.Millisecond)
			require.NoError(t, s.Swap(t.Context(), "replaced", nil, []byte("new"), expiry))
			end(t, s)
			eventually(t, "time stands still", func() bool { return time.Now().After(expiry) })
			requireAbsent(t, s, "replaced")
			proxy.Heal()
			waitLogged(t, log, "✅ Redis is back")
			requireAbsent(t, s, "replaced")
			requireAbsent(t, plain(t, server), "replaced")
		})
	}
}

// swapOut takes the creation away, unless it has expired on a busy machine.
func swapOut(t *testing.T, s store.SessionStore) {
	err := s.Swap(t.Context(), "replaced", []byte("new"), nil, time.Time{})
	require.True(t, err == nil || errors.Is(err, store.ErrConflict), err)
}

// do sends the server a command of the test.
func do(t testing.TB, server *redistest.Server, command ...string) any {
	t.Helper()
	answer, err := server.Do(command...)
	require.NoError(t, err)
	return answer
}
