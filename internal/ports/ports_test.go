package ports_test

import (
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

func TestRefused(t *testing.T) {
	t.Parallel()
	address, err := ports.Refused()
	require.NoError(t, err)
	_, err = net.Dial("tcp", address)
	require.ErrorContains(t, err, "refused")
}
