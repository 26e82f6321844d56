package hooks_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/hooks"
)

func TestHooksWaitForTheEndOfTheWork(t *testing.T) {
	t.Parallel()
	var called []string
	hook := func(name string) func(context.Context) {
		return func(ctx context.Context) {
			require.NoError(t, ctx.Err())
			called = append(called, name)
		}
	}
	caller, leave := context.WithCancel(t.Context())
	hooks.Call(caller, hook("outside"))
	require.Equal(t, []string{"outside"}, called)

	outer, waiting := hooks.Begin(caller)
	inner, none := hooks.Begin(outer)
	hooks.Call(inner, hook("first"))
	hooks.Call(outer, func(ctx context.Context) {
		hook("second")(ctx)
		hooks.Call(ctx, hook("a hook's"))
	})
	leave()
	none.Run()
	require.Equal(t, []string{"outside"}, called, "the outer work goes on")
	waiting.Run()
	require.Equal(t, []string{"outside", "first", "second", "a hook's"}, called)
	hooks.Call(inner, hook("late"))
	require.Equal(t, "late", called[len(called)-1], "no call is lost")
}

func TestHooksPanic(t *testing.T) {
	t.Parallel()
	ctx, waiting := hooks.Begin(t.Context())
	called := false
	hooks.Call(ctx, func(context.Context) { panic("the host") })
	hooks.Call(ctx, func(context.Context) { called = true })
	require.PanicsWithValue(t, "the host", waiting.Run)
	require.True(t, called)
}
