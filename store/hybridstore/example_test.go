package hybridstore_test

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/mcpoauth/mcpoauth/internal/redistest"
	"github.com/mcpoauth/mcpoauth/store/hybridstore"
	"github.com/mcpoauth/mcpoauth/store/redisstore"
)

// Without a URL everything is in memory.
func ExampleOpen() {
	defer silenceLog()()
	ctx := context.Background()
	s, err := hybridstore.Open(ctx, "") // os.Getenv("REDIS_URL")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	fmt.Println(s.IsRedisConnected(), s.Ephemeral())
	fmt.Println(s.Swap(ctx, "session:1", nil, []byte("hello"), time.Now().Add(time.Hour)))
	// Output:
	// false true
	// <nil>
}

// Redis goes away and comes back, and has what happened meanwhile.
func Example() {
	server, err := redistest.Start(redistest.Options{Persist: true}) // yours is running already
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Stop()
	ctx := context.Background()
	s, err := hybridstore.New(ctx, hybridstore.Config{
		Redis:  redisstore.Config{URL: server.URL(), OpTimeout: 200 * time.Millisecond},
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	expiry := time.Now().Add(time.Hour)

	fmt.Println("create:", s.Swap(ctx, "session:1", nil, []byte("v1"), expiry))
	server.Kill()
	fmt.Println("update:", s.Swap(ctx, "session:1", []byte("v1"), []byte("v2"), expiry))
	fmt.Println("connected:", s.IsRedisConnected())
	if err := server.Restart(); err != nil {
		fmt.Println(err)
		return
	}
	for !s.IsRedisConnected() {
		time.Sleep(time.Millisecond)
	}
	value, err := server.Do("GETRANGE", "mcpoauth:v:session:1", "17", "-1")
	fmt.Println("in Redis:", value, err)
	// Output:
	// create: <nil>
	// update: <nil>
	// connected: false
	// in Redis: v2 <nil>
}

// silenceLog keeps the example's log lines out of the test's output.
func silenceLog() (restore func()) {
	before := slog.Default()
	slog.SetDefault(slog.New(slog.DiscardHandler))
	return func() { slog.SetDefault(before) }
}
