package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/internal/redistest"
)

// world is everything that the story happens to.
type world struct {
	redis     *redistest.Server
	auth      *authtest.Server
	mcp       *mcptest.Server
	hosts     []*host
	publicURL string // of the load balancer
	sealKey   string

	closers []func()
}

// newWorld starts everything.
func newWorld(ctx context.Context) (_ *world, err error) {
	w := &world{}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	// Every write is on disk before it is answered, as "appendonly yes" and
	// "appendfsync always" in redis.conf have it.
	if w.redis, err = redistest.Start(redistest.Options{Persist: true}); err != nil {
		if errors.Is(err, redistest.ErrMissing) {
			return nil, errors.New(strings.TrimPrefix(err.Error(), "redistest: "))
		}
		return nil, err
	}
	w.closers = append(w.closers, w.redis.Stop)
	if w.auth, err = authtest.Start(authtest.Options{}); err != nil {
		return nil, err
	}
	w.closers = append(w.closers, w.auth.Close)
	if w.mcp, err = mcptest.Start(mcptest.Options{Auth: w.auth}); err != nil {
		return nil, err
	}
	w.closers = append(w.closers, w.mcp.Close)
	return w, w.startHosts(ctx)
}

// startHosts starts two hosts behind a load balancer.
func (w *world) startHosts(ctx context.Context) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	w.publicURL = "http://" + listener.Addr().String()
	w.sealKey = newSealKey()
	b := &balancer{}
	for _, name := range []string{"a", "b"} {
		h := &host{name: name, addr: "127.0.0.1:0", w: w}
		if err := h.start(ctx); err != nil {
			_ = listener.Close()
			return err
		}
		w.closers = append(w.closers, h.kill)
		w.hosts = append(w.hosts, h)
		b.hosts = append(b.hosts, h.addr)
	}
	server := &http.Server{Handler: b.handler(), ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(listener) }() // always ends with http.ErrServerClosed
	w.closers = append(w.closers, func() {
		_ = server.Close()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	return nil
}

// newSealKey does what "openssl rand -base64 32" does.
func newSealKey() string {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	return base64.StdEncoding.EncodeToString(key)
}

// close stops everything, in the opposite order of starting.
func (w *world) close() {
	for i := len(w.closers) - 1; i >= 0; i-- {
		w.closers[i]()
	}
}

// host is a replica: this program in a process of its own.
type host struct {
	name string
	addr string // the port stays the same over restarts
	w    *world
	cmd  *exec.Cmd
	log  *bytes.Buffer // of this life; complete once it is killed
}

// start starts the host and waits until it listens.
func (h *host) start(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	h.cmd = exec.Command(self, "-host")
	h.cmd.Env = append(os.Environ(), envAddr+"="+h.addr, envPublicURL+"="+h.w.publicURL,
		envRedisURL+"="+h.w.redis.URL(), envSealKey+"="+h.w.sealKey)
	h.log = new(bytes.Buffer)
	h.cmd.Stderr = h.log
	if _, err := h.cmd.StdinPipe(); err != nil { // its end tells the host to stop
		return err
	}
	stdout, err := h.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := h.cmd.Start(); err != nil {
		return fmt.Errorf("start host %s: %w", h.name, err)
	}
	defer context.AfterFunc(ctx, h.signalKill)()
	addr, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		h.kill()
		return fmt.Errorf("host %s does not start: %w\n%s", h.name, err, h.log)
	}
	h.addr = strings.TrimSpace(addr)
	return nil
}

func (h *host) signalKill() { _ = h.cmd.Process.Kill() }

// kill ends the host at once, without a goodbye, and waits until it is gone.
func (h *host) kill() {
	h.signalKill()
	_ = h.cmd.Wait()
}
