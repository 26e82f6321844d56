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
		Redis:  redisstore.Config{URL: server.URL(), OpTimeout: 2 * time.Second},
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
	value, _, err := s.Get(ctx, "session:1")
	fmt.Printf("read: %s %v\n", value, err)
	fmt.Println("update:", s.Swap(ctx, "session:1", []byte("v1"), []byte("v2"), expiry))
	fmt.Println("create:", s.Swap(ctx, "session:2", nil, []byte("new"), expiry))
	fmt.Println("connected:", s.IsRedisConnected())
	if err := server.Restart(); err != nil {
		fmt.Println(err)
		return
	}
	for !s.IsRedisConnected() {
		time.Sleep(time.Millisecond)
	}
	value, _, err = s.Get(ctx, "session:2") // Redis is told first
	fmt.Printf("read: %s %v\n", value, err)
	stored, err := server.Do("GETRANGE", "mcpoauth:v:session:2", "17", "-1")
	fmt.Println("in Redis:", stored, err)
	// Output:
	// create: <nil>
	// read: v1 <nil>
	// update: hybridstore: Redis is away, and records from before the outage are read-only
	// create: <nil>
	// connected: false
	// read: new <nil>
	// in Redis: new <nil>
}

// silenceLog keeps the example's log lines out of the test's output.
func silenceLog() (restore func()) {
	before := slog.Default()
	slog.SetDefault(slog.New(slog.DiscardHandler))
	return func() { slog.SetDefault(before) }
}
