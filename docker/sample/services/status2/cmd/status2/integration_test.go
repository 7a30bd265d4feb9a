//go:build integration

package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gorilla/websocket"

	"wepp.example/services/live"
	"wepp.example/services/live/servicetest"
)

type statusFrame struct{ Type, Data string }

func publish(t *testing.T, server *servicetest.Redis, channel, text string) {
	t.Helper()
	if err := server.Client.Publish(context.Background(), channel, text).Err(); err != nil {
		t.Fatal(err)
	}
}

func expect(t *testing.T, page *servicetest.Page, text string) {
	t.Helper()
	var frame statusFrame
	page.Decode(&frame)
	if frame.Type != "status" || frame.Data != text {
		t.Fatalf("got %+v, want status %q", frame, text)
	}
}

func TestAMessagePublishedRightAfterTheHandshakeArrives(t *testing.T) {
	server := servicetest.StartRedis(t)
	running := servicetest.StartService(t, definition, server, nil)
	for round := range 50 {
		channel := fmt.Sprintf("run-%d:wepp", round)
		page := running.Open(t, channel)
		publish(t, server, channel, "first")
		expect(t, page, "first")
	}
}

func TestManyPagesOfAChannelShareOneSubscriptionAndReceiveAllInOrder(t *testing.T) {
	server := servicetest.StartRedis(t)
	running := servicetest.StartService(t, definition, server, nil)
	pages := make([]*servicetest.Page, 20)
	for index := range pages {
		pages[index] = running.Open(t, "crisp-run:wepp")
	}
	subscribers, err := server.Client.PubSubNumSub(context.Background(), "crisp-run:wepp").Result()
	if err != nil || subscribers["crisp-run:wepp"] != 1 {
		t.Fatalf("subscribers: %v, %v", subscribers, err)
	}
	const burst = 500
	for number := range burst {
		publish(t, server, "crisp-run:wepp", fmt.Sprint(number))
	}
	for _, page := range pages {
		for number := range burst {
			expect(t, page, fmt.Sprint(number))
		}
	}
	if sent := running.Metric(t, "status2_messages_forwarded_total"); sent != burst*float64(len(pages)) {
		t.Fatalf("forwarded %v", sent)
	}
}

func TestAChannelIsUnsubscribedWhenItsLastPageLeavesAndComesBackWithTheNext(t *testing.T) {
	server := servicetest.StartRedis(t)
	running := servicetest.StartService(t, definition, server, nil)
	for range 20 {
		page := running.Open(t, "r:c")
		publish(t, server, "r:c", "text")
		expect(t, page, "text")
		_ = page.Conn.Close()
	}
	servicetest.Eventually(t, "the channel is unsubscribed", func() bool {
		subscribers, err := server.Client.PubSubNumSub(context.Background(), "r:c").Result()
		return err == nil && subscribers["r:c"] == 0
	})
	servicetest.Eventually(t, "no connection is counted", func() bool { return running.Metric(t, "status2_connections_active") == 0 })
}

func TestPagesOfAnotherChannelReceiveNothing(t *testing.T) {
	server := servicetest.StartRedis(t)
	running := servicetest.StartService(t, definition, server, nil)
	mine, other := running.Open(t, "a:wepp"), running.Open(t, "b:wepp/")
	publish(t, server, "a:wepp", "for a")
	publish(t, server, "b:wepp", "for b")
	expect(t, mine, "for a")
	expect(t, other, "for b")
}

func TestAPageSurvivesARestartOfRedis(t *testing.T) {
	server := servicetest.StartRedis(t)
	running := servicetest.StartService(t, definition, server, map[string]string{"STATUS_REDIS_MAX_RETRIES": "0", "STATUS_REDIS_RETRY_BASE": "100ms"})
	page := running.Open(t, "r:wepp")
	server.Stop()
	servicetest.Eventually(t, "health fails", func() bool {
		code, body := running.Get(t, "/health")
		return code == http.StatusServiceUnavailable && strings.HasPrefix(body, "redis: ")
	})
	server.Start(t)
	servicetest.Eventually(t, "the channel is subscribed again", func() bool {
		subscribers, err := server.Client.PubSubNumSub(context.Background(), "r:wepp").Result()
		return err == nil && subscribers["r:wepp"] == 1
	})
	publish(t, server, "r:wepp", "after")
	expect(t, page, "after")
	if count := running.Metric(t, "status2_redis_reconnects_total"); count != 1 {
		t.Fatalf("reconnects %v", count)
	}
	servicetest.Eventually(t, "health is well again", func() bool {
		code, body := running.Get(t, "/health")
		return code == http.StatusOK && body == "OK"
	})
}

func TestPagesAreClosedWhenRedisStaysAway(t *testing.T) {
	server := servicetest.StartRedis(t)
	running := servicetest.StartService(t, definition, server, map[string]string{"STATUS_REDIS_MAX_RETRIES": "2", "STATUS_REDIS_RETRY_BASE": "50ms"})
	page := running.Open(t, "r:wepp")
	server.Stop()
	if frame := page.Next(); frame != `{"type":"hangup"}` {
		t.Fatalf("got %s", frame)
	}
	if code := page.CloseCode(); code != websocket.CloseTryAgainLater {
		t.Fatalf("close code %d", code)
	}
	_, reply, err := websocket.DefaultDialer.Dial("ws://"+running.Address+"/r:wepp", nil)
	if err == nil || reply.StatusCode != http.StatusServiceUnavailable {
		t.Fatalf("handshake without redis: %v %v", reply, err)
	}
	server.Start(t)
	servicetest.Eventually(t, "new connections are accepted again", func() bool {
		conn, _, err := websocket.DefaultDialer.Dial("ws://"+running.Address+"/r:wepp", nil)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
}

func TestANewPageDoesNotWaitForTheNextAttemptThatCounts(t *testing.T) {
	server := servicetest.StartRedis(t)
	running := servicetest.StartService(t, definition, server, map[string]string{
		"STATUS_REDIS_MAX_RETRIES": "0", "STATUS_REDIS_RETRY_BASE": "1h", "STATUS_REDIS_RETRY_MAX": "1h",
	})
	server.Stop()
	servicetest.Eventually(t, "an attempt has failed", func() bool { return strings.Contains(running.Output(), `"failures":1`) })
	server.Start(t)
	servicetest.Eventually(t, "a page opens", func() bool {
		conn, _, err := websocket.DefaultDialer.Dial("ws://"+running.Address+"/r:wepp", nil)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
}

func TestHangupAndCloseFrameArriveOnTermination(t *testing.T) {
	server := servicetest.StartRedis(t)
	running := servicetest.StartService(t, definition, server, nil)
	pages := make([]*servicetest.Page, 50)
	for index := range pages {
		pages[index] = running.Open(t, "r:wepp")
	}
	publish(t, server, "r:wepp", "last message")
	expect(t, pages[0], "last message")
	stopped := make(chan error, 1)
	go func() { stopped <- running.Stop() }()
	for index, page := range pages {
		if index > 0 {
			expect(t, page, "last message")
		}
		if frame := page.Next(); frame != `{"type":"hangup"}` {
			t.Fatalf("page %d got %s", index, frame)
		}
		if code := page.CloseCode(); code != websocket.CloseGoingAway {
			t.Fatalf("page %d: close code %d", index, code)
		}
	}
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
}

func TestThePasswordComesFromAFileAndIsNeverLogged(t *testing.T) {
	const password = "s3cret-of-the-test"
	server := servicetest.StartRedis(t, "--requirepass", password)
	path := filepath.Join(t.TempDir(), "redis_password")
	if err := os.WriteFile(path, []byte(password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	running := servicetest.StartService(t, definition, server, map[string]string{"REDIS_PASSWORD_FILE": path})
	running.Open(t, "r:wepp")
	if code, body := running.Get(t, "/health"); code != http.StatusOK {
		t.Fatalf("%d %s", code, body)
	}
	if strings.Contains(running.Output(), password) {
		t.Fatal("the log holds the password")
	}
}

func TestAWrongPasswordEndsTheStartAtOnce(t *testing.T) {
	server := servicetest.StartRedis(t, "--requirepass", "right")
	lookup := servicetest.Environment(map[string]string{
		"STATUS_REDIS_URL": "redis://:wrong-password@" + server.Address() + "/2", "STATUS_LISTEN_ADDR": "127.0.0.1:0",
		"STATUS_REDIS_RETRY_BASE": "1h", "STATUS_REDIS_RETRY_MAX": "1h", // a second attempt would outlast the test
	})
	err := live.Run(context.Background(), definition, lookup, os.Stderr, nil)
	if err == nil || !strings.Contains(err.Error(), "WRONGPASS") || strings.Contains(err.Error(), "wrong-password") {
		t.Fatalf("got %v", err)
	}
}

func TestTheStartIsGivenUpAfterTheLastAttempt(t *testing.T) {
	server := servicetest.StartRedis(t)
	server.Stop()
	lookup := servicetest.Environment(map[string]string{
		"STATUS_REDIS_URL": "redis://" + server.Address() + "/2", "STATUS_LISTEN_ADDR": "127.0.0.1:0",
		"STATUS_REDIS_RETRY_BASE": "5ms", "STATUS_REDIS_MAX_RETRIES": "3",
	})
	err := live.Run(context.Background(), definition, lookup, os.Stderr, nil)
	if err == nil || !strings.Contains(err.Error(), "redis at "+server.Address()) {
		t.Fatalf("got %v", err)
	}
}
