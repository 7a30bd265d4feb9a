//go:build integration

package main

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/redis/go-redis/v9"

	"wepp.example/services/live/servicetest"
)

func set(t *testing.T, server *servicetest.Redis, run string, pairs ...any) {
	t.Helper()
	if err := server.Client.HSet(context.Background(), run, pairs...).Err(); err != nil {
		t.Fatal(err)
	}
}

// nextState returns the next frame.
func nextState(t *testing.T, page *servicetest.Page) State {
	t.Helper()
	var state State
	page.Decode(&state)
	if state.Type != "preflight" {
		t.Fatalf("got %+v", state)
	}
	return state
}

// until reads frames up to one that fulfils the condition.
func until(t *testing.T, page *servicetest.Page, condition func(State) bool) State {
	t.Helper()
	for {
		if state := nextState(t, page); condition(state) {
			return state
		}
	}
}

func modified(seconds int64) func(State) bool {
	return func(state State) bool { return state.LastModified != nil && *state.LastModified == seconds }
}

func empty(state State) bool {
	return state.Checklist == (Checklist{}) && len(state.LockStatuses) == 0 && state.LastModified == nil
}

func TestTheFirstFrameHoldsTheStateAndChangesFollow(t *testing.T) {
	server := servicetest.StartRedis(t)
	running := servicetest.StartService(t, definition(), server, nil)
	set(t, server, "run", "attrs:has_sbs", "true", "locked:wepp.nodb", "true")
	page := running.Open(t, "run")
	first := nextState(t, page)
	if !first.Checklist.SBSMap || !first.LockStatuses["wepp.nodb"] || first.LastModified != nil {
		t.Fatalf("got %+v", first)
	}
	set(t, server, "run", "timestamps:build_channels", 5)
	if second := nextState(t, page); !second.Checklist.Channels || !modified(5)(second) {
		t.Fatalf("got %+v", second)
	}
	set(t, server, "run", "locked:wepp.nodb", "false")
	if third := nextState(t, page); third.LockStatuses["wepp.nodb"] {
		t.Fatalf("got %+v", third)
	}
}

func TestARunWithoutAHashStartsWithAnOpenChecklist(t *testing.T) {
	server := servicetest.StartRedis(t)
	running := servicetest.StartService(t, definition(), server, nil)
	if state := nextState(t, running.Open(t, "batch;;name;;id/")); !empty(state) {
		t.Fatalf("got %+v", state)
	}
}

func TestNoChangeIsLostBetweenTheFirstReadAndTheSubscription(t *testing.T) {
	server := servicetest.StartRedis(t)
	running := servicetest.StartService(t, definition(), server, nil)
	for round := range 30 {
		run := fmt.Sprintf("run-%d", round)
		written := make(chan error, 1)
		go func() {
			var err error
			for second := 1; second <= 20 && err == nil; second++ {
				err = server.Client.HSet(context.Background(), run, "last_modified", second).Err()
			}
			written <- err
		}()
		page := running.Open(t, run)
		until(t, page, modified(20))
		if err := <-written; err != nil {
			t.Fatal(err)
		}
		_ = page.Conn.Close()
	}
}

func TestABurstForManyPagesIsReadAFewTimesAndItsEndArrivesEverywhere(t *testing.T) {
	server := servicetest.StartRedis(t)
	running := servicetest.StartService(t, definition(), server, nil)
	pages := make([]*servicetest.Page, 30)
	for index := range pages {
		pages[index] = running.Open(t, "run")
	}
	const changes = 400
	for second := 1; second <= changes; second++ {
		set(t, server, "run", "last_modified", second)
	}
	for _, page := range pages {
		until(t, page, modified(changes))
	}
	// One read at first, one for the beginning of the burst, and one every 100 ms of it: far fewer than changes.
	if reads := running.Metric(t, "preflight2_hash_reads_total"); reads > changes/2 {
		t.Fatalf("%v reads for %d changes and %d pages", reads, changes, len(pages))
	}
}

func TestADeletedHashReachesThePage(t *testing.T) {
	for name, remove := range map[string]func(context.Context, *redis.Client) error{
		"deletion": func(ctx context.Context, c *redis.Client) error { return c.Del(ctx, "run").Err() },
		"unlink":   func(ctx context.Context, c *redis.Client) error { return c.Unlink(ctx, "run").Err() },
		"time to live": func(ctx context.Context, c *redis.Client) error {
			return c.PExpire(ctx, "run", 20*time.Millisecond).Err()
		},
		"flush": func(ctx context.Context, c *redis.Client) error { return c.FlushDB(ctx).Err() },
		"other kind": func(ctx context.Context, c *redis.Client) error {
			return c.Set(ctx, "run", "a string", 0).Err()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := servicetest.StartRedis(t)
			running := servicetest.StartService(t, definition(), server, nil)
			set(t, server, "run", "timestamps:build_channels", 5, "locked:a", "true")
			page := running.Open(t, "run")
			until(t, page, modified(5))
			if err := remove(context.Background(), server.Client); err != nil {
				t.Fatal(err)
			}
			if state := nextState(t, page); !empty(state) {
				t.Fatalf("got %+v", state)
			}
		})
	}
}

func TestWithoutAnnouncementsTheStateStillArrives(t *testing.T) {
	server := servicetest.StartRedis(t, "--notify-keyspace-events", "")
	running := servicetest.StartService(t, definition(), server, nil)
	page := running.Open(t, "run")
	nextState(t, page)
	set(t, server, "run", "last_modified", 1)
	until(t, page, modified(1))
	set(t, server, "run", "last_modified", 2) // as many fields as before
	until(t, page, modified(2))
}

func TestAChangeDuringARestartOfRedisReachesThePage(t *testing.T) {
	server := servicetest.StartRedis(t)
	running := servicetest.StartService(t, definition(), server, map[string]string{"PREFLIGHT_REDIS_MAX_RETRIES": "0", "PREFLIGHT_REDIS_RETRY_BASE": "500ms"})
	set(t, server, "run", "last_modified", 1)
	page := running.Open(t, "run")
	until(t, page, modified(1))
	server.Stop() // nothing was saved, so the restart itself is the change
	servicetest.Eventually(t, "health fails", func() bool {
		code, _ := running.Get(t, "/health")
		return code == http.StatusServiceUnavailable
	})
	server.Start(t)
	set(t, server, "run", "last_modified", 2) // before the service has reconnected: no announcement is received
	until(t, page, modified(2))
	set(t, server, "run", "last_modified", 3)
	until(t, page, modified(3))
}

func TestHangupAndCloseFrameArriveOnTermination(t *testing.T) {
	server := servicetest.StartRedis(t)
	running := servicetest.StartService(t, definition(), server, nil)
	page := running.Open(t, "run")
	nextState(t, page)
	stopped := make(chan error, 1)
	go func() { stopped <- running.Stop() }()
	if frame := page.Next(); frame != `{"type":"hangup"}` {
		t.Fatalf("got %s", frame)
	}
	if code := page.CloseCode(); code != websocket.CloseGoingAway {
		t.Fatalf("close code %d", code)
	}
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
}

func TestNamesThatAreNoRunAreRefused(t *testing.T) {
	server := servicetest.StartRedis(t)
	running := servicetest.StartService(t, definition(), server, nil)
	for path, want := range map[string]int{"/a:b": 400, "/a*": 400, "/a%2Fb": 400, "/": 404, "/run": 426, "/health": 200} {
		if code, body := running.Get(t, path); code != want {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
}
