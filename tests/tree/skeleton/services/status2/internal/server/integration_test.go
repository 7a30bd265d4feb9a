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

	"github.com/rogerlew/wepppy/services/status2/internal/config"
)

func TestWhatIsPublishedAboutARunReachesItsWebsocketAndAStopEndsItWithAHangup(t *testing.T) {
	client := startRedis(t)
	service, site := serve(t, client, map[string]string{})
	conn := dial(t, site, "/run-1:wepp")
	publish(t, client, "run-1:wepp", "step 1 <done>")
	if got := next(t, conn); got != (frame{Type: "status", Data: "step 1 <done>"}) {
		t.Error(got)
	}
	go service.Stop()
	if got := next(t, conn); got.Type != "hangup" {
		t.Error(got)
	}
}

func TestAClientThatDoesNotAnswerPingsIsHungUp(t *testing.T) {
	_, site := serve(t, startRedis(t), map[string]string{"STATUS_PING_INTERVAL": "50ms", "STATUS_PONG_TIMEOUT": "300ms"})
	conn := dial(t, site, "/run-1:wepp")
	seen := map[string]bool{}
	for !seen["hangup"] {
		seen[next(t, conn).Type] = true
	}
	if !seen["ping"] {
		t.Error("no ping before the hangup")
	}
}

func TestEachPathHasItsAnswer(t *testing.T) {
	_, site := serve(t, startRedis(t), map[string]string{"STATUS_METRICS_ENABLED": "true"})
	for path, status := range map[string]int{
		"/health": 200, "/metrics": 200, "/": 404, "/no-channel": 400, "/run:wepp": http.StatusUpgradeRequired,
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
	settings, err := config.Load("STATUS", ":0", 2, func(name string) string { return environment[name] })
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

// publish sends a message as soon as somebody listens.
func publish(t *testing.T, client *redis.Client, channel, message string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if heard, err := client.Publish(t.Context(), channel, message).Result(); err != nil || heard > 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("nobody listens on " + channel)
		}
	}
}

func next(t *testing.T, conn *websocket.Conn) frame {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, text, err := conn.Read(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var received frame
	if err := json.Unmarshal(text, &received); err != nil {
		t.Fatal(err)
	}
	return received
}
