// Package ports chooses TCP ports for servers that tests stop and start again,
// and for addresses that must refuse connections. The kernel gives such a port to
// no other socket: it is below the range from which the kernel takes ports for
// port 0 and for outgoing connections (32768 on Linux, 49152 elsewhere).
package ports

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
)

const first, last = 20000, 32767

// Free returns a port of 127.0.0.1 on which no server listens.
func Free() (int, error) {
	for range 100 {
		port := first + rand.IntN(last-first+1)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		return port, l.Close()
	}
	return 0, errors.New("ports: no free port found")
}

// Refused returns an address of 127.0.0.1 that refuses connections.
func Refused() (string, error) {
	port, err := Free()
	return fmt.Sprintf("127.0.0.1:%d", port), err
}
