package redistest

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// masterSet is the name under which a [Sentinel] knows its servers.
const masterSet = "redistest"

// Sentinel is a primary, a replica, and a sentinel that watches them.
type Sentinel struct {
	sentinel *Server
	servers  [2]*Server
}

// StartSentinel starts the three processes and waits until the replica has
// its data and the sentinel knows both servers.
func StartSentinel() (*Sentinel, error) {
	s := &Sentinel{}
	if err := s.start(); err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

func (s *Sentinel) start() error {
	var err error
	config := []string{"repl-diskless-sync-delay 0", "repl-ping-replica-period 1"}
	if s.servers[0], err = Start(Options{Persist: true, Config: config}); err != nil {
		return err
	}
	port := strconv.Itoa(s.servers[0].port)
	replica := append([]string{"replicaof 127.0.0.1 " + port}, config...)
	if s.servers[1], err = Start(Options{Persist: true, Config: replica}); err != nil {
		return err
	}
	s.sentinel, err = start(Options{Config: []string{
		"sentinel monitor " + masterSet + " 127.0.0.1 " + port + " 1",
		"sentinel down-after-milliseconds " + masterSet + " 60000", // a busy machine is no failure
		"sentinel failover-timeout " + masterSet + " 3000",
	}}, "sentinel")
	if err != nil {
		return err
	}
	return eventually("the sentinel does not see a replica in sync", func() error {
		info, err := s.servers[1].Info("replication")
		if err != nil {
			return err
		}
		if info["master_link_status"] != "up" {
			return errors.New("the replica is not in sync")
		}
		answer, err := s.sentinel.Do("SENTINEL", "REPLICAS", masterSet)
		if err != nil {
			return err
		}
		if replicas, _ := answer.([]any); len(replicas) != 1 {
			return fmt.Errorf("the sentinel knows %d replicas", len(replicas))
		}
		return nil
	})
}

// URL is that of the sentinel, from which a client learns who is primary.
func (s *Sentinel) URL() string {
	u := url.URL{Scheme: "redis", Host: s.sentinel.Addr(), RawQuery: url.Values{"master_set": {masterSet}}.Encode()}
	return u.String()
}

// Primary is the server that the sentinel names as primary.
func (s *Sentinel) Primary() (*Server, error) {
	answer, err := s.sentinel.Do("SENTINEL", "GET-MASTER-ADDR-BY-NAME", masterSet)
	if err != nil {
		return nil, err
	}
	pair, _ := answer.([]any)
	if len(pair) != 2 {
		return nil, errors.New("redistest: the sentinel knows no primary")
	}
	addr := net.JoinHostPort(fmt.Sprint(pair[0]), fmt.Sprint(pair[1]))
	for _, server := range s.servers {
		if server.Addr() == addr {
			return server, nil
		}
	}
	return nil, fmt.Errorf("redistest: %s is not one of the sentinel's servers", addr)
}

// Sync waits until the replica has all that the primary has by now. The command
// WAIT is about the writes of its own connection only.
func (s *Sentinel) Sync() error {
	primary, err := s.Primary()
	if err != nil {
		return err
	}
	written, _, err := offsets(primary)
	if err != nil {
		return err
	}
	return eventually("the replica is not in sync", func() error {
		_, acknowledged, err := offsets(primary)
		if err == nil && acknowledged < written {
			err = fmt.Errorf("it has %d of %d bytes", acknowledged, written)
		}
		return err
	})
}

// offsets returns how far a primary has written and its replica followed.
func offsets(primary *Server) (written, acknowledged int64, err error) {
	info, err := primary.Info("replication")
	if err != nil {
		return 0, 0, err
	}
	if written, err = strconv.ParseInt(info["master_repl_offset"], 10, 64); err != nil {
		return 0, 0, err
	}
	_, rest, _ := strings.Cut(info["slave0"], "offset=")
	offset, _, _ := strings.Cut(rest, ",")
	acknowledged, err = strconv.ParseInt(offset, 10, 64)
	return written, acknowledged, err
}

// Failover has the sentinel make the replica primary, and waits until it is.
func (s *Sentinel) Failover() error {
	before, err := s.Primary()
	if err != nil {
		return err
	}
	// It refuses for as long as it does not trust the replica yet.
	if err := eventually("the sentinel refuses a failover", func() error {
		_, err := s.sentinel.Do("SENTINEL", "FAILOVER", masterSet)
		return err
	}); err != nil {
		return err
	}
	return s.waitForAnother(before)
}

// KillPrimary kills the primary and waits until the sentinel has replaced it.
func (s *Sentinel) KillPrimary() error {
	before, err := s.Primary()
	if err != nil {
		return err
	}
	before.Kill()
	if _, err := s.sentinel.Do("SENTINEL", "SET", masterSet, "down-after-milliseconds", "500"); err != nil {
		return err
	}
	return s.waitForAnother(before)
}

func (s *Sentinel) waitForAnother(before *Server) error {
	return eventually("there is no new primary", func() error {
		now, err := s.Primary()
		if err != nil {
			return err
		}
		if now == before {
			return errors.New("the primary is still the old one")
		}
		info, err := now.Info("replication")
		if err != nil {
			return err
		}
		if info["role"] != "master" {
			return errors.New("the new primary is still a replica")
		}
		return nil
	})
}

// Settle waits until the old primary, unless it is dead, is a replica of the new one.
// Before that it takes writes of clients that have not heard of the new one, and they
// are lost.
func (s *Sentinel) Settle() error {
	primary, err := s.Primary()
	if err != nil {
		return err
	}
	return eventually("there are two primaries", func() error {
		for _, server := range s.servers {
			info, err := server.Info("replication")
			if server != primary && err == nil && info["role"] == "master" {
				return errors.New("the old primary is still one")
			}
		}
		return nil
	})
}

// Stop stops the three processes.
func (s *Sentinel) Stop() {
	for _, server := range []*Server{s.sentinel, s.servers[0], s.servers[1]} {
		if server != nil {
			server.Stop()
		}
	}
}
