package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/rueidis"

	"github.com/mcpoauth/mcpoauth/internal/redistest"
	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/redisstore"
)

// Two replicas share a server. What one writes, the other one sees.
func Example() {
	server, err := redistest.Start(redistest.Options{}) // yours is running already
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Stop()

	var replicas [2]*redisstore.Store
	for i := range replicas {
		if replicas[i], err = redisstore.New(context.Background(), redisstore.Config{URL: server.URL()}); err != nil {
			fmt.Println(err)
			return
		}
		defer replicas[i].Close()
	}

	ctx := context.Background()
	expiry := time.Now().Add(time.Hour)
	fmt.Println("create:", replicas[0].Swap(ctx, "attempt:1", nil, []byte("pending"), expiry))
	value, _, err := replicas[1].Get(ctx, "attempt:1")
	fmt.Printf("read elsewhere: %s %v\n", value, err)
	fmt.Println("take:", replicas[1].Swap(ctx, "attempt:1", value, nil, time.Time{}))
	fmt.Println("take elsewhere:", replicas[0].Swap(ctx, "attempt:1", value, nil, time.Time{}))
	// Output:
	// create: <nil>
	// read elsewhere: pending <nil>
	// take: <nil>
	// take elsewhere: store: conflict
}

// A host that has a client for other things lends it. Closing the store leaves
// it open.
func ExampleConfig_client() {
	server, err := redistest.Start(redistest.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Stop()
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{server.Addr()}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	s, err := redisstore.New(context.Background(), redisstore.Config{Client: client, KeyPrefix: "chat:oauth:"})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, _, err = s.Get(context.Background(), "session:1")
	fmt.Println(errors.Is(err, store.ErrNotFound))
	s.Close()
	fmt.Println(client.Do(context.Background(), client.B().Ping().Build()).ToString())
	// Output:
	// true
	// PONG <nil>
}

// An outage is not an answer: users stay logged in.
func ExampleStore_Get_outage() {
	server, err := redistest.Start(redistest.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Stop()
	s, err := redisstore.New(context.Background(), redisstore.Config{URL: server.URL(), OpTimeout: 2 * time.Second})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	server.Kill()

	_, _, err = s.Get(context.Background(), "session:1")
	switch {
	case err == nil:
		fmt.Println("go on")
	case errors.Is(err, store.ErrNotFound):
		fmt.Println("sign in again")
	default:
		fmt.Println("try later")
	}
	// Output: try later
}
