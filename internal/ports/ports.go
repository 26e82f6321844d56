// Package ports chooses TCP ports for servers that tests stop and start again,
// and for addresses that must refuse connections. The kernel gives such a port to
// no other socket: it is below the range from which the kernel takes ports for
// port 0 and for outgoing connections (32768 on Linux, 49152 elsewhere). No other
// test, in this process or another one, gets the port as long as this process runs.
package ports

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
)

const first, last = 20000, 32767

// taken are the UDP sockets with the numbers of the ports that this process has
// chosen. No other process can bind them, so they are locks between processes.
var taken struct {
	mu    sync.Mutex
	locks []net.PacketConn
}

// Free returns a port of 127.0.0.1 on which no server listens.
func Free() (int, error) {
	for range 100 {
		port := first + rand.IntN(last-first+1)
		if free(fmt.Sprintf("127.0.0.1:%d", port)) {
			return port, nil
		}
	}
	return 0, errors.New("ports: no free port found")
}

// free takes an address, and reports whether no other test has the address and no
// server listens there.
func free(address string) bool {
	lock, err := net.ListenPacket("udp", address)
	if err != nil {
		return false
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		_ = lock.Close()
		return false
	}
	taken.mu.Lock()
	defer taken.mu.Unlock()
	taken.locks = append(taken.locks, lock)
	return l.Close() == nil
}

// Refused returns an address of 127.0.0.1 that refuses connections.
func Refused() (string, error) {
	port, err := Free()
	return fmt.Sprintf("127.0.0.1:%d", port), err
}
