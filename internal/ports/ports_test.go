package ports_test

import (
	"fmt"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/ports"
)

func TestFree(t *testing.T) {
	t.Parallel()
	port, err := ports.Free()
	require.NoError(t, err)
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
	require.NoError(t, err)
	require.NoError(t, l.Close())
}

// What one test has, no other test gets, also while no server listens there.
func TestPortsAreNotSharedOut(t *testing.T) {
	t.Parallel()
	port, err := ports.Free()
	require.NoError(t, err)
	_, err = net.ListenPacket("udp", fmt.Sprintf("127.0.0.1:%d", port))
	require.Error(t, err, "the lock that other processes see")
}

func TestRefused(t *testing.T) {
	t.Parallel()
	address, err := ports.Refused()
	require.NoError(t, err)
	_, err = net.Dial("tcp", address)
	require.ErrorContains(t, err, "refused")
}
