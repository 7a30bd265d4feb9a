//go:build integration

package server

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"nhooyr.io/websocket"

	"github.com/rogerlew/wepppy/services/preflight2/internal/config"
)

func TestAWebsocketIsToldTheRunsStateAtOnceAndAfterEachChange(t *testing.T) {
	client := startRedis(t)
	set(t, client, "timestamps:build_channels", "100")
	service, site := serve(t, client, map[string]string{})
	conn := dial(t, site, "/run-1")
	if got := next(t, conn); got.Type != "preflight" || !got.Checklist["channels"] || got.Checklist["outlet"] {
		t.Error(got)
	}
	set(t, client, "timestamps:set_outlet", "110", "locked:wepp.nodb", "true", "last_modified", "111")
	if got := next(t, conn); !got.Checklist["outlet"] || !got.LockStatuses["wepp.nodb"] || got.LastModified != 111 {
		t.Error(got)
	}
	go service.Stop()
	if got := next(t, conn); got.Type != "hangup" {
		t.Error(got)
	}
}

func TestAnEventThatChangesNothingSendsNothing(t *testing.T) {
	client := startRedis(t)
	_, site := serve(t, client, map[string]string{})
	conn := dial(t, site, "/run-1")
	next(t, conn)
	set(t, client, "rq:run_wepp", "job-7")
	set(t, client, "locked:wepp.nodb", "true")
	if got := next(t, conn); !got.LockStatuses["wepp.nodb"] {
		t.Error(got)
	}
}

func TestEachPathHasItsAnswer(t *testing.T) {
	_, site := serve(t, startRedis(t), map[string]string{"PREFLIGHT_METRICS_ENABLED": "true"})
	for path, status := range map[string]int{
		"/health": 200, "/metrics": 200, "/": 404, "/no:run": 400, "/run-1": http.StatusUpgradeRequired,
	} {
		answer, err := http.Get(site + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		if answer.StatusCode != status {
			t.Errorf("%s: %d", path, answer.StatusCode)
		}
	}
}

func set(t *testing.T, client *redis.Client, fields ...string) {
	t.Helper()
	if err := client.HSet(t.Context(), "run-1", fields).Err(); err != nil {
		t.Fatal(err)
	}
}

// startRedis starts a Redis of the test's own.
func startRedis(t *testing.T) *redis.Client {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	_ = free.Close()
	_, port, _ := net.SplitHostPort(address)
	server := exec.Command("redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "",
		"--notify-keyspace-events", "Kh", "--dir", t.TempDir())
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Process.Kill(); _ = server.Wait() })
	client := redis.NewClient(&redis.Options{Addr: address})
	t.Cleanup(func() { _ = client.Close() })
	for deadline := time.Now().Add(20 * time.Second); client.Ping(t.Context()).Err() != nil; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("redis-server does not answer")
		}
	}
	return client
}

func serve(t *testing.T, client *redis.Client, environment map[string]string) (*Server, string) {
	t.Helper()
	settings, err := config.Load("PREFLIGHT", ":0", 0, func(name string) string { return environment[name] })
	if err != nil {
		t.Fatal(err)
	}
	service := New(settings, client)
	site := httptest.NewServer(service)
	t.Cleanup(site.Close)
	return service, site.URL
}

func dial(t *testing.T, site, path string) *websocket.Conn {
	t.Helper()
	conn, _, err := websocket.Dial(t.Context(), strings.Replace(site, "http", "ws", 1)+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.CloseNow() })
	return conn
}

func next(t *testing.T, conn *websocket.Conn) state {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, text, err := conn.Read(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var received state
	if err := json.Unmarshal(text, &received); err != nil {
		t.Fatal(err)
	}
	return received
}
