package storetest_test

import (
	"context"
	"errors"
	"runtime"
	"time"

	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/storetest"
)

// extendAs plants a flaw in an Extend that needs to know the sound store only.
func extendAs(extend func(ctx context.Context, in store.SessionStore, key string, expiry time.Time) error) func(*storetest.Backend) {
	return with(func(in store.SessionStore) flawed {
		return flawed{extend: func(ctx context.Context, key string, expiry time.Time) error {
			return extend(ctx, in, key, expiry)
		}}
	})
}

func extendFlaws() []flaw {
	return []flaw{
		{"Get returns no expiry", []string{"ExpiryIsReturned", "ExtendLater"}, with(func(in store.SessionStore) flawed {
			return flawed{get: func(ctx context.Context, key string) ([]byte, time.Time, error) {
				value, _, err := in.Get(ctx, key)
				return value, time.Time{}, err
			}}
		})},
		{"Get returns an expiry with an error", []string{"GetMissing"}, with(func(in store.SessionStore) flawed {
			return flawed{get: func(ctx context.Context, key string) ([]byte, time.Time, error) {
				value, expiry, err := in.Get(ctx, key)
				if err != nil {
					expiry = time.Now()
				}
				return value, expiry, err
			}}
		})},
		{"absent is unsure", []string{"GetMissing"}, with(func(in store.SessionStore) flawed {
			return flawed{get: func(ctx context.Context, key string) ([]byte, time.Time, error) {
				value, expiry, err := in.Get(ctx, key)
				if err != nil {
					err = errors.Join(err, store.ErrUnsure)
				}
				return value, expiry, err
			}}
		})},
		{"Extend does nothing", []string{"ExtendLater"}, extendAs(
			func(ctx context.Context, in store.SessionStore, key string, _ time.Time) error {
				_, _, err := in.Get(ctx, key)
				return err
			})},
		{"Extend sets any expiry", []string{"ExtendNeverEarlier"}, extendAs(
			func(ctx context.Context, in store.SessionStore, key string, expiry time.Time) error {
				for {
					value, _, err := in.Get(ctx, key)
					if err != nil {
						return err
					}
					if err := in.Swap(ctx, key, value, value, expiry); !errors.Is(err, store.ErrConflict) {
						return err
					}
				}
			})},
		{"Extend of an absent record is no error", []string{"ExtendAbsent"}, extendAs(
			func(ctx context.Context, in store.SessionStore, key string, expiry time.Time) error {
				if err := in.Extend(ctx, key, expiry); !errors.Is(err, store.ErrNotFound) {
					return err
				}
				return nil
			})},
		{"Extend changes the value", []string{"ExtendKeepsValue"}, extendAs(
			func(ctx context.Context, in store.SessionStore, key string, expiry time.Time) error {
				value, _, err := in.Get(ctx, key)
				if err != nil {
					return err
				}
				return in.Swap(ctx, key, value, append(value, 0), expiry)
			})},
		{"Extend reads, then writes", []string{"RaceToExtend"}, extendAs(
			func(ctx context.Context, in store.SessionStore, key string, expiry time.Time) error {
				value, _, err := in.Get(ctx, key)
				if err != nil {
					return err
				}
				for range 10 {
					runtime.Gosched() // as a round trip does
				}
				time.Sleep(time.Millisecond)
				return overwrite(ctx, in, key, value, expiry)
			})},
		{"Extend of an empty key is no error", []string{"InvalidArguments"}, extendAs(
			func(ctx context.Context, in store.SessionStore, key string, expiry time.Time) error {
				if key == "" {
					return nil
				}
				return in.Extend(ctx, key, expiry)
			})},
		{"Extend ignores its context", []string{"EndedContext"}, extendAs(
			func(ctx context.Context, in store.SessionStore, key string, expiry time.Time) error {
				return in.Extend(context.WithoutCancel(ctx), key, expiry)
			})},
	}
}
