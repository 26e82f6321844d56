package storetest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/storetest"
)

// flawed is a store of which some methods are replaced.
type flawed struct {
	store.SessionStore

	get    func(ctx context.Context, key string) ([]byte, time.Time, error)
	extend func(ctx context.Context, key string, expiry time.Time) error
	swap   func(ctx context.Context, key string, old, new []byte, expiry time.Time) error
	del    func(ctx context.Context, key string) error
	lock   func(ctx context.Context, key string, ttl time.Duration) (func(), error)
}

func (f flawed) Get(ctx context.Context, key string) ([]byte, time.Time, error) {
	if f.get != nil {
		return f.get(ctx, key)
	}
	return f.SessionStore.Get(ctx, key)
}

func (f flawed) Extend(ctx context.Context, key string, expiry time.Time) error {
	if f.extend != nil {
		return f.extend(ctx, key, expiry)
	}
	return f.SessionStore.Extend(ctx, key, expiry)
}

func (f flawed) Swap(ctx context.Context, key string, old, new []byte, expiry time.Time) error {
	if f.swap != nil {
		return f.swap(ctx, key, old, new, expiry)
	}
	return f.SessionStore.Swap(ctx, key, old, new, expiry)
}

func (f flawed) Delete(ctx context.Context, key string) error {
	if f.del != nil {
		return f.del(ctx, key)
	}
	return f.SessionStore.Delete(ctx, key)
}

func (f flawed) Lock(ctx context.Context, key string, ttl time.Duration) (func(), error) {
	if f.lock != nil {
		return f.lock(ctx, key, ttl)
	}
	return f.SessionStore.Lock(ctx, key, ttl)
}

// with plants a flaw that needs to know the sound store only.
func with(make func(sound store.SessionStore) flawed) func(b *storetest.Backend) {
	return func(b *storetest.Backend) {
		f := make(b.Store)
		f.SessionStore = b.Store
		b.Store = f
	}
}

// swapAs plants a flaw in what Swap is called with.
func swapAs(change func(key *string, old, new *[]byte, expiry *time.Time)) func(b *storetest.Backend) {
	return with(func(in store.SessionStore) flawed {
		return flawed{swap: func(ctx context.Context, key string, old, new []byte, expiry time.Time) error {
			change(&key, &old, &new, &expiry)
			return in.Swap(ctx, key, old, new, expiry)
		}}
	})
}

// keysAs plants a flaw in how keys are encoded, for records and locks.
func keysAs(encode func(string) string) func(b *storetest.Backend) {
	return with(func(in store.SessionStore) flawed {
		return flawed{
			get: func(ctx context.Context, key string) ([]byte, time.Time, error) { return in.Get(ctx, encode(key)) },
			extend: func(ctx context.Context, key string, expiry time.Time) error {
				return in.Extend(ctx, encode(key), expiry)
			},
			swap: func(ctx context.Context, key string, old, new []byte, expiry time.Time) error {
				return in.Swap(ctx, encode(key), old, new, expiry)
			},
			del: func(ctx context.Context, key string) error { return in.Delete(ctx, encode(key)) },
			lock: func(ctx context.Context, key string, ttl time.Duration) (func(), error) {
				return in.Lock(ctx, encode(key), ttl)
			},
		}
	})
}

// overwrite is a Swap that does not compare.
func overwrite(ctx context.Context, in store.SessionStore, key string, new []byte, expiry time.Time) error {
	if err := in.Delete(ctx, key); err != nil {
		return err
	}
	return in.Swap(ctx, key, nil, new, expiry)
}

func swapFlaws() []flaw {
	return []flaw{
		{"Get of an absent record is nil, nil", []string{"GetMissing"}, with(func(in store.SessionStore) flawed {
			return flawed{get: func(ctx context.Context, key string) ([]byte, time.Time, error) {
				value, expiry, err := in.Get(ctx, key)
				if errors.Is(err, store.ErrNotFound) {
					return nil, time.Time{}, nil
				}
				return value, expiry, err
			}}
		})},
		{"Swap ignores old", []string{
			"SwapCreate", "SwapDelete", "SwapConflict", "SwapNilForNil", "EmptyValue", "PeerSharesRecords",
		}, with(func(in store.SessionStore) flawed {
			return flawed{swap: func(ctx context.Context, key string, _, new []byte, expiry time.Time) error {
				return overwrite(ctx, in, key, new, expiry)
			}}
		})},
		{"Swap writes only once", []string{"SwapUpdate"}, with(func(in store.SessionStore) flawed {
			return flawed{swap: func(ctx context.Context, key string, old, new []byte, expiry time.Time) error {
				if old != nil && new != nil {
					return nil
				}
				return in.Swap(ctx, key, old, new, expiry)
			}}
		})},
		{"Swap compares lengths", []string{"SwapConflict"}, with(func(in store.SessionStore) flawed {
			return flawed{swap: func(ctx context.Context, key string, old, new []byte, expiry time.Time) error {
				value, _, err := in.Get(ctx, key)
				if err == nil && len(old) == len(value) {
					old = value
				}
				return in.Swap(ctx, key, old, new, expiry)
			}}
		})},
	}
}

func emptyFlaws() []flaw {
	return []flaw{
		{"an empty new deletes", []string{"EmptyValue"}, swapAs(func(_ *string, _, new *[]byte, _ *time.Time) {
			if len(*new) == 0 {
				*new = nil
			}
		})},
		{"an empty old creates", []string{"EmptyValue"}, swapAs(
			func(_ *string, old, _ *[]byte, _ *time.Time) {
				if len(*old) == 0 {
					*old = nil
				}
			})},
		{"an empty value is read as nil", []string{"EmptyValue"}, with(func(in store.SessionStore) flawed {
			return flawed{get: func(ctx context.Context, key string) ([]byte, time.Time, error) {
				value, expiry, err := in.Get(ctx, key)
				return append([]byte(nil), value...), expiry, err
			}}
		})},
	}
}

func recordFlaws() []flaw {
	return []flaw{
		{"Delete of an absent record is an error", []string{"Delete"}, with(func(in store.SessionStore) flawed {
			return flawed{del: func(ctx context.Context, key string) error {
				if _, _, err := in.Get(ctx, key); err != nil {
					return err
				}
				return in.Delete(ctx, key)
			}}
		})},
		{"a written slice is kept", []string{"AliasingIn"}, with(aliasIn)},
		{"a read slice is kept", []string{"AliasingOut"}, with(aliasOut)},
		{"values are text", []string{"BinaryValues"}, swapAs(func(_ *string, _, new *[]byte, _ *time.Time) {
			if *new != nil {
				*new = bytes.ToValidUTF8(*new, []byte("?"))
			}
		})},
		{"values may be of any length", []string{"LargeValues"}, with(func(in store.SessionStore) flawed {
			return flawed{swap: func(ctx context.Context, key string, old, new []byte, expiry time.Time) error {
				return in.Swap(ctx, key, old, new[:min(len(new), store.DefaultMaxValueBytes)], expiry)
			}}
		})},
		{"values are small", []string{"BinaryValues", "LargeValues"}, with(func(in store.SessionStore) flawed {
			return flawed{swap: func(ctx context.Context, key string, old, new []byte, expiry time.Time) error {
				if len(new) > 32<<10 {
					return store.ErrFull
				}
				return in.Swap(ctx, key, old, new, expiry)
			}}
		})},
	}
}

func keyFlaws() []flaw {
	return []flaw{
		{"keys ignore case", []string{"OddKeys"}, keysAs(strings.ToLower)},
		{"keys are trimmed", []string{"OddKeys"}, keysAs(strings.TrimSpace)},
		{"keys are text", []string{"OddKeys"}, keysAs(func(key string) string { return strings.ToValidUTF8(key, "?") })},
		{"keys are cut", []string{"OddKeys"}, keysAs(func(key string) string { return key[:min(len(key), 255)] })},
		{"keys are unescaped", []string{"OddKeys"}, keysAs(func(key string) string {
			return strings.ReplaceAll(key, "%61", "a")
		})},
	}
}

// aliasIn reads from a cache that keeps the slices it was written with.
func aliasIn(in store.SessionStore) flawed {
	var cache sync.Map
	return flawed{
		get: func(ctx context.Context, key string) ([]byte, time.Time, error) {
			value, expiry, err := in.Get(ctx, key)
			if cached, ok := cache.Load(key); ok && err == nil {
				value = bytes.Clone(cached.([]byte))
			}
			return value, expiry, err
		},
		swap: func(ctx context.Context, key string, old, new []byte, expiry time.Time) error {
			err := in.Swap(ctx, key, old, new, expiry)
			if err == nil {
				cache.Store(key, new)
			}
			return err
		},
	}
}

// aliasOut reads from a cache that hands out its own slices.
func aliasOut(in store.SessionStore) flawed {
	var cache sync.Map
	return flawed{get: func(ctx context.Context, key string) ([]byte, time.Time, error) {
		value, expiry, err := in.Get(ctx, key)
		if err != nil {
			return nil, time.Time{}, err
		}
		cached, _ := cache.LoadOrStore(key, value)
		return cached.([]byte), expiry, nil
	}}
}

func argumentFlaws() []flaw {
	return []flaw{
		{"an empty key is a key", []string{"InvalidArguments"}, keysAs(func(key string) string { return "prefix:" + key })},
		{"a zero expiry is for ever", []string{"InvalidArguments"}, swapAs(
			func(_ *string, _, _ *[]byte, expiry *time.Time) {
				if expiry.IsZero() {
					*expiry = time.Now().AddDate(1, 0, 0)
				}
			})},
		{"a ttl of zero is for ever", []string{"InvalidArguments"}, with(func(in store.SessionStore) flawed {
			return flawed{lock: func(ctx context.Context, key string, ttl time.Duration) (func(), error) {
				if ttl <= 0 {
					ttl = time.Hour
				}
				return in.Lock(ctx, key, ttl)
			}}
		})},
	}
}

func contextFlaws() []flaw {
	return []flaw{
		{"Get ignores its context", []string{"EndedContext"}, with(func(in store.SessionStore) flawed {
			return flawed{get: func(ctx context.Context, key string) ([]byte, time.Time, error) {
				return in.Get(context.WithoutCancel(ctx), key)
			}}
		})},
		{"Swap ignores its context", []string{"EndedContext"}, with(func(in store.SessionStore) flawed {
			return flawed{swap: func(ctx context.Context, key string, old, new []byte, expiry time.Time) error {
				return in.Swap(context.WithoutCancel(ctx), key, old, new, expiry)
			}}
		})},
		{"Swap writes and then looks at its context", []string{"EndedContext"}, with(func(in store.SessionStore) flawed {
			return flawed{swap: func(ctx context.Context, key string, old, new []byte, expiry time.Time) error {
				return errors.Join(in.Swap(context.WithoutCancel(ctx), key, old, new, expiry), ctx.Err())
			}}
		})},
		{"Delete ignores its context", []string{"EndedContext"}, with(func(in store.SessionStore) flawed {
			return flawed{del: func(ctx context.Context, key string) error {
				return in.Delete(context.WithoutCancel(ctx), key)
			}}
		})},
		{"an outage is not found", []string{"EndedContext"}, with(func(in store.SessionStore) flawed {
			return flawed{get: func(ctx context.Context, key string) ([]byte, time.Time, error) {
				value, expiry, err := in.Get(ctx, key)
				if ctx.Err() != nil {
					err = fmt.Errorf("%w: %w", store.ErrNotFound, ctx.Err())
				}
				return value, expiry, err
			}}
		})},
	}
}

func errorFlaws() []flaw {
	return []flaw{
		{"errors name the key", []string{"ErrorsTellNothing"}, with(func(in store.SessionStore) flawed {
			return flawed{get: func(ctx context.Context, key string) ([]byte, time.Time, error) {
				value, expiry, err := in.Get(ctx, key)
				if err != nil {
					err = fmt.Errorf("get %s: %w", key, err)
				}
				return value, expiry, err
			}}
		})},
		{"errors name the value", []string{"ErrorsTellNothing"}, with(func(in store.SessionStore) flawed {
			return flawed{swap: func(ctx context.Context, key string, old, new []byte, expiry time.Time) error {
				err := in.Swap(ctx, key, old, new, expiry)
				if err != nil {
					err = fmt.Errorf("swap %q: %w", old, err)
				}
				return err
			}}
		})},
	}
}

func raceFlaws() []flaw {
	return []flaw{
		{"Swap compares, then writes", []string{
			"RaceToCreate", "RaceToTake", "RaceToMark", "RaceToExpire", "RaceToCount",
		}, with(func(in store.SessionStore) flawed {
			return flawed{swap: func(ctx context.Context, key string, old, new []byte, expiry time.Time) error {
				value, _, err := in.Get(ctx, key)
				if err != nil && !errors.Is(err, store.ErrNotFound) {
					return err
				}
				if !bytes.Equal(value, old) {
					return store.ErrConflict
				}
				for range 10 {
					runtime.Gosched() // what a round trip does to a store on a server
				}
				time.Sleep(10 * time.Microsecond)
				if err := in.Delete(ctx, key); err != nil || new == nil {
					return err
				}
				err = in.Swap(ctx, key, nil, new, expiry)
				if errors.Is(err, store.ErrConflict) {
					return nil // another caller wrote in between; the last one wins
				}
				return err
			}}
		})},
	}
}
