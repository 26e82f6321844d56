//go:build unix

// Customstore is a backend of your own: a [store.SessionStore] in a directory,
// which the processes of one machine share and which outlives them.
//
//	go run ./examples/customstore
//
// It connects a user, "restarts", and goes on without asking the user again.
// What to take from it for a database is the shape: check the arguments,
// compare and write in one atomic step (here under a lock of the operating
// system; in SQL, UPDATE … WHERE value = old), give each lease a token, and let
// the contract suite of package storetest check it. That test is all of
// main_test.go.
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/oauthclient/oauthtest"
	"github.com/mcpoauth/mcpoauth/session"
	"github.com/mcpoauth/mcpoauth/store"
)

// FileStore keeps each record in a file: eight bytes of expiry, then the value.
// It is not [store.Ephemeral], so package session demands keys to seal with.
type FileStore struct{ dir string }

var _ store.SessionStore = (*FileStore)(nil)

// Open returns a handle on the records in dir, which must be a directory of a
// local file system.
func Open(dir string) (*FileStore, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("filestore: %w", err)
	}
	return &FileStore{dir: dir}, nil
}

// Get implements [store.SessionStore].
func (s *FileStore) Get(ctx context.Context, key string) (value []byte, expiry time.Time, err error) {
	if err := errors.Join(ctx.Err(), store.CheckKey(key)); err != nil {
		return nil, time.Time{}, err
	}
	value, expiry, err = s.read(s.path("v", key)) // needs no lock: files are replaced whole
	if err == nil && value == nil {
		err = store.ErrNotFound
	}
	return value, expiry, err
}

// Swap implements [store.SessionStore].
func (s *FileStore) Swap(ctx context.Context, key string, old, new []byte, expiry time.Time) error {
	if err := errors.Join(ctx.Err(), store.CheckSwap(key, new, expiry), store.CheckValue(new, store.DefaultMaxValueBytes)); err != nil {
		return err
	}
	path := s.path("v", key)
	return s.exclusive(func() error {
		now, _, err := s.read(path)
		switch {
		case err != nil:
			return err
		case (now == nil) != (old == nil), !bytes.Equal(now, old):
			return store.ErrConflict
		case new == nil || !time.Now().Before(expiry):
			return s.remove(path)
		}
		return s.write(path, new, expiry)
	})
}

// Extend implements [store.SessionStore].
func (s *FileStore) Extend(ctx context.Context, key string, expiry time.Time) error {
	if err := errors.Join(ctx.Err(), store.CheckExtend(key, expiry)); err != nil {
		return err
	}
	path := s.path("v", key)
	return s.exclusive(func() error {
		value, until, err := s.read(path)
		switch {
		case err != nil:
			return err
		case value == nil:
			return store.ErrNotFound
		case !expiry.After(until):
			return nil
		}
		return s.write(path, value, expiry)
	})
}

// Delete implements [store.SessionStore].
func (s *FileStore) Delete(ctx context.Context, key string) error {
	if err := errors.Join(ctx.Err(), store.CheckKey(key)); err != nil {
		return err
	}
	return s.exclusive(func() error { return s.remove(s.path("v", key)) })
}

// Lock implements [store.SessionStore]. The lease is a record of its own, whose
// value says whose it is.
func (s *FileStore) Lock(ctx context.Context, key string, ttl time.Duration) (unlock func(), err error) {
	if err := errors.Join(ctx.Err(), store.CheckLock(key, ttl)); err != nil {
		return nil, err
	}
	path, token := s.path("l", key), []byte(rand.Text())
	for {
		free := false
		err := s.exclusive(func() error {
			holder, _, err := s.read(path)
			if err != nil || holder != nil {
				return err
			}
			free = true
			return s.write(path, token, time.Now().Add(ttl))
		})
		switch {
		case err != nil:
			return nil, err
		case free:
			return func() { s.unlock(path, token) }, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// unlock gives a lease back, unless it has run out and is another's by now. A
// failure is nothing to report: the lease ends by itself.
func (s *FileStore) unlock(path string, token []byte) {
	_ = s.exclusive(func() error {
		if holder, _, err := s.read(path); err != nil || !bytes.Equal(holder, token) {
			return err
		}
		return s.remove(path)
	})
}

// Sweep removes what has expired, which no read does; call it now and then.
func (s *FileStore) Sweep() error {
	paths, err := filepath.Glob(filepath.Join(s.dir, "[vl]-*"))
	if err != nil {
		return fmt.Errorf("filestore: %w", err)
	}
	return s.exclusive(func() error {
		for _, path := range paths {
			if value, _, err := s.read(path); err != nil || value != nil {
				continue
			}
			if err := s.remove(path); err != nil {
				return err
			}
		}
		return nil
	})
}

// path hashes the key, which may hold any byte and be longer than a file name.
func (s *FileStore) path(kind, key string) string {
	sum := sha256.Sum256([]byte(key))
	return filepath.Join(s.dir, kind+"-"+hex.EncodeToString(sum[:]))
}

// exclusive runs fn while no other goroutine or process runs one. The lock belongs
// to the open file, so it ends with a crash.
func (s *FileStore) exclusive(fn func() error) error {
	lock, err := os.OpenFile(filepath.Join(s.dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("filestore: %w", err)
	}
	defer lock.Close() // gives the lock back
	for {
		if err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != syscall.EINTR {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("filestore: lock: %w", err)
	}
	return fn()
}

// read returns a live value and its expiry, or nil where there is none.
func (s *FileStore) read(path string) (value []byte, expiry time.Time, err error) {
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, err := os.Stat(s.dir); err != nil {
			return nil, time.Time{}, fmt.Errorf("filestore: %w", err) // an outage, which is not "not found"
		}
		return nil, time.Time{}, nil
	case err != nil:
		return nil, time.Time{}, fmt.Errorf("filestore: %w", err)
	case len(data) < 8:
		return nil, time.Time{}, errors.New("filestore: a record is damaged")
	}
	expiry = time.UnixMilli(int64(binary.BigEndian.Uint64(data)))
	if !time.Now().Before(expiry) {
		return nil, time.Time{}, nil
	}
	return data[8:], expiry, nil
}

// write replaces a file as a whole: a reader finds the old value or the new one, also
// after a crash. The value is on the disk when write returns, because a refresh token
// that is used before it is saved may be lost.
func (s *FileStore) write(path string, value []byte, expiry time.Time) error {
	file, err := os.CreateTemp(s.dir, "new-") // mode 0600
	if err != nil {
		return fmt.Errorf("filestore: %w", err)
	}
	defer os.Remove(file.Name()) // unless it was renamed
	data := binary.BigEndian.AppendUint64(nil, uint64(expiry.UnixMilli()))
	_, err = file.Write(append(data, value...))
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	return s.done(err)
}

// remove removes a file that may not be there.
func (s *FileStore) remove(path string) error {
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return s.done(err)
}

// done makes a change of the directory last, if it was made.
func (s *FileStore) done(err error) error {
	if err != nil {
		return fmt.Errorf("filestore: %w", err)
	}
	dir, err := os.Open(s.dir)
	if err != nil {
		return fmt.Errorf("filestore: %w", err)
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return fmt.Errorf("filestore: %w", err)
	}
	return nil
}

func main() {
	dir, err := os.MkdirTemp("", "mcpoauth-customstore-")
	if err == nil {
		err = run(context.Background(), dir, os.Stdout)
		_ = os.RemoveAll(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "customstore:", err)
		os.Exit(1)
	}
}

// run is a host in two lives: in the first a user authorizes, in the second the
// session is still there.
func run(ctx context.Context, dir string, out io.Writer) error {
	auth := oauthtest.NewAuthServer(oauthtest.AuthServerConfig{}) // stands for the world outside
	defer auth.Close()
	server := oauthtest.NewMCPServer(oauthtest.MCPServerConfig{Auth: auth})
	defer server.Close()
	key := make([]byte, 32) // a real host keeps it where it keeps its secrets
	_, _ = rand.Read(key)   // never fails

	life := func(work func(*session.Manager) error) error {
		files, err := Open(dir)
		if err != nil {
			return err
		}
		cfg := session.Config{Store: files, SealKeys: [][]byte{key}}
		cfg.Client.Transport = oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowLoopback: true}) // for this example only
		manager, err := session.New(cfg)
		if err != nil {
			return err
		}
		defer manager.Close()
		return work(manager)
	}

	alice, sessionID := session.Caller{Owner: "alice"}, ""
	err := life(func(m *session.Manager) error {
		info, err := m.Connect(ctx, alice, session.ConnectParams{ServerURL: server.URL(), CallbackURL: "https://app.example.com/callback"})
		required, ok := errors.AsType[*oauthclient.AuthorizationRequiredError](err)
		if !ok {
			return fmt.Errorf("connect: want an authorization, got %w", err)
		}
		fmt.Fprintln(out, "first life:  the user must authorize")
		callback, err := oauthtest.Browser{}.Approve(ctx, required.AuthURL)
		if err != nil {
			return err
		}
		back, err := url.Parse(callback)
		if err != nil {
			return err
		}
		info, err = m.FinishAuth(ctx, alice, "", oauthclient.ParseAuthorizationResponse(back.Query()))
		sessionID = info.ID.Reveal()
		fmt.Fprintln(out, "first life: ", info.Status)
		return err
	})
	if err != nil {
		return err
	}
	return life(func(m *session.Manager) error {
		result, err := m.CallTool(ctx, alice, sessionID, "add", map[string]int{"a": 2, "b": 40})
		if err != nil {
			return err
		}
		text, err := result.MarshalJSON()
		fmt.Fprintf(out, "second life: %s\n", text)
		return err
	})
}
