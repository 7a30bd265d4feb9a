package live

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"
)

const timeout = 20 * time.Second

// forward publishes each message as its text.
func forward(ctx context.Context, _ Tools, topic *Topic) {
	for {
		select {
		case <-ctx.Done():
			return
		case text := <-topic.Messages:
			if text != "" { // the token of a subscription
				topic.Publish([]byte(text))
			}
		}
	}
}

// emptyHub is a hub without Redis; see confirmAll.
func emptyHub(definition Definition, settings Settings) *Hub {
	definition.SentName = "sent"
	tools := Tools{Redis: redis.NewClient(&redis.Options{}), Settings: settings, Log: slog.New(slog.DiscardHandler)}
	return newHub(definition, tools, promauto.With(prometheus.NewRegistry()))
}

// confirmAll is a Redis that confirms every subscription at once.
func confirmAll(t *testing.T, hub *Hub) {
	ctx := t.Context()
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-hub.changed:
			}
			hub.mu.Lock()
			channels := slices.Collect(maps.Keys(hub.topics))
			hub.mu.Unlock()
			for _, channel := range channels {
				hub.confirm(channel)
			}
		}
	}()
}

type fixture struct {
	*Hub
	url string
}

func start(t *testing.T, definition Definition, change func(*Settings)) *fixture {
	t.Helper()
	limits := Settings{PingInterval: time.Hour, PongTimeout: time.Hour, WriteTimeout: timeout, MaxMessageSize: 1024}
	if change != nil {
		change(&limits)
	}
	definition.Serve = forward
	hub := emptyHub(definition, limits)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		client, err := hub.join(r.Context(), r.URL.Path, r.URL.Path)
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		conn, err := (&websocket.Upgrader{}).Upgrade(w, r, nil)
		if err != nil {
			hub.leave(client)
			return
		}
		client.serve(conn, func() {})
	}))
	t.Cleanup(server.Close)
	return &fixture{Hub: hub, url: "ws" + strings.TrimPrefix(server.URL, "http")}
}

// started is start with a Redis that confirms.
func started(t *testing.T, change func(*Settings)) *fixture {
	t.Helper()
	f := start(t, Definition{}, change)
	confirmAll(t, f.Hub)
	return f
}

func (*fixture) counted(counter prometheus.Counter) int { return int(testutil.ToFloat64(counter)) }

func (f *fixture) dial(t *testing.T, path string) *websocket.Conn {
	t.Helper()
	conn, _, err := websocket.DefaultDialer.Dial(f.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func next(t *testing.T, conn *websocket.Conn) string {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(timeout))
	_, text, err := conn.ReadMessage()
	if err != nil {
		t.Fatalf("no frame: %v", err)
	}
	return string(text)
}

func end(t *testing.T, conn *websocket.Conn) error {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(timeout))
	for {
		if _, _, err := conn.ReadMessage(); err != nil {
			return err
		}
	}
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(timeout); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("did not happen: %s", what)
		}
	}
}

func TestAClientThatDoesNotReadIsDroppedAndTheOthersMissNothing(t *testing.T) {
	f := started(t, nil)
	blocked, reader := f.dial(t, "/a"), f.dial(t, "/a")
	_ = blocked.NetConn().(*net.TCPConn).SetReadBuffer(4096)
	text := strings.Repeat("x", 60_000)
	received := make(chan int, 1)
	go func() {
		count := 0
		for {
			_ = reader.SetReadDeadline(time.Now().Add(timeout))
			if _, frame, err := reader.ReadMessage(); err != nil || string(frame) == "end" {
				break
			}
			count++
		}
		received <- count
	}()
	sent := 0
	for f.counted(f.slowDropped) == 0 && sent < 5000 {
		f.deliver("/a", text)
		sent++
		if sent%20 == 0 { // the reader must not be the slow one
			eventually(t, "the reader's frames are written", func() bool { return f.backlog("/a") <= 1 })
		}
	}
	f.deliver("/a", "end")
	if got := <-received; got != sent || f.counted(f.slowDropped) != 1 {
		t.Fatalf("the reader got %d of %d, dropped %d", got, sent, f.counted(f.slowDropped))
	}
	eventually(t, "the slow client has left", func() bool { return f.clientCount() == 1 })
}

// backlog counts the members of a topic that are behind.
func (f *fixture) backlog(channel string) (behind int) {
	f.mu.Lock()
	topic := f.topics[channel]
	f.mu.Unlock()
	topic.mu.Lock()
	defer topic.mu.Unlock()
	for client := range topic.members {
		client.mu.Lock()
		if len(client.queue) > 0 {
			behind++
		}
		client.mu.Unlock()
	}
	return behind
}

func TestAWriteThatTakesTooLongDropsTheClient(t *testing.T) {
	f := started(t, func(limits *Settings) { limits.WriteTimeout = 50 * time.Millisecond })
	blocked := f.dial(t, "/a")
	_ = blocked.NetConn().(*net.TCPConn).SetReadBuffer(4096)
	text := strings.Repeat("x", 60_000)
	for range 100 { // six megabytes: more than the sockets take, less than the backlog may hold
		f.deliver("/a", text)
	}
	eventually(t, "the client is dropped", func() bool { return f.counted(f.slowDropped) == 1 && f.clientCount() == 0 })
}

func TestAClientThatIsBehindForAWhileGetsEveryFrameInOrder(t *testing.T) {
	f := started(t, nil)
	conn := f.dial(t, "/a")
	filler := strings.Repeat("x", 3000)
	const frames = 2000
	for number := range frames {
		f.deliver("/a", fmt.Sprintf("%d %s", number, filler))
	}
	eventually(t, "the client is behind", func() bool { return f.counted(f.sent) == frames && f.backlog("/a") == 1 })
	for number := range frames {
		if text := next(t, conn); !strings.HasPrefix(text, fmt.Sprintf("%d ", number)) {
			t.Fatalf("frame %d is %.10s", number, text)
		}
	}
	f.deliver("/a", "direct again")
	if text := next(t, conn); text != "direct again" {
		t.Fatalf("got %.20s", text)
	}
}

func TestSilenceEndsWithHangupAndCloseFrameAndPongsPreventIt(t *testing.T) {
	f := started(t, func(limits *Settings) {
		limits.PingInterval, limits.PongTimeout = 10*time.Millisecond, 3*time.Second // the active one may be slow
	})
	silent, active := f.dial(t, "/a"), f.dial(t, "/a")
	done := make(chan struct{})
	go func() {
		defer close(done)
		sawHangup := false
		for {
			_, text, err := silent.ReadMessage()
			if err != nil {
				if !sawHangup || !websocket.IsCloseError(err, websocket.CloseGoingAway) {
					t.Errorf("hangup %v, end %v", sawHangup, err)
				}
				return
			}
			sawHangup = string(text) == `{"type":"hangup"}`
		}
	}()
	for ended := false; !ended; {
		if text := next(t, active); text != `{"type":"ping"}` {
			t.Fatalf("got %s", text)
		}
		if err := active.WriteMessage(websocket.TextMessage, []byte(`{"type":"Pong"}`)); err != nil {
			t.Fatal(err)
		}
		select {
		case <-done:
			ended = true
		default:
		}
	}
	if f.clientCount() < 1 {
		t.Fatal("the active client has left too")
	}
}

func TestShutdownClosesClientsAfterWhatIsQueuedAndRefusesNewOnes(t *testing.T) {
	f := started(t, nil)
	conn := f.dial(t, "/a")
	f.deliver("/a", "last")
	eventually(t, "the last message is accepted", func() bool { return f.counted(f.sent) == 1 })
	go f.shutdown(t.Context())
	if first, second := next(t, conn), next(t, conn); first != "last" || second != `{"type":"hangup"}` {
		t.Fatalf("got %s, %s", first, second)
	}
	if err := end(t, conn); !websocket.IsCloseError(err, websocket.CloseGoingAway) {
		t.Fatalf("end %v", err)
	}
	if _, err := f.join(t.Context(), "/a", "/a"); !errors.Is(err, errClosing) {
		t.Fatalf("new client: %v", err)
	}
}

func TestALaterClientBeginsWithTheNewestState(t *testing.T) {
	f := start(t, Definition{Latest: true}, nil)
	f.subscribed["/a"] = true
	first := f.dial(t, "/a")
	topic := f.topics["/a"]
	topic.Publish([]byte("old"))
	topic.Publish([]byte("new"))
	if a, b := next(t, first), next(t, first); a != "old" || b != "new" {
		t.Fatalf("got %s, %s", a, b)
	}
	if text := next(t, f.dial(t, "/a")); text != "new" {
		t.Fatalf("got %s", text)
	}
}

func TestAHandshakeWaitsForTheSubscription(t *testing.T) {
	f := start(t, Definition{}, nil)
	early, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.join(early, "/a", "/a"); !errors.Is(err, errNotReady) {
		t.Fatalf("got %v", err)
	}
	joined := make(chan error, 1)
	go func() {
		client, err := f.join(context.Background(), "/a", "/a")
		if err == nil {
			f.leave(client)
		}
		joined <- err
	}()
	eventually(t, "a client waits", func() bool { return f.clientCount() == 1 })
	select {
	case err := <-joined:
		t.Fatalf("did not wait: %v", err)
	default:
	}
	f.confirm("/a")
	if err := <-joined; err != nil {
		t.Fatal(err)
	}
	if len(f.topics) != 0 {
		t.Fatalf("topics %v", f.topics)
	}
}

func TestAfterALossNewClientsWaitAgain(t *testing.T) {
	f := start(t, Definition{}, nil)
	f.subscribed["/a"] = true
	f.dial(t, "/a")
	f.lose()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := f.join(ctx, "/a", "/a"); !errors.Is(err, errNotReady) {
		t.Fatalf("got %v", err)
	}
}

func TestProtocolPingsAreAnsweredAndCloseFramesReturned(t *testing.T) {
	f := started(t, nil)
	for _, code := range []int{websocket.CloseNormalClosure, websocket.CloseNoStatusReceived} {
		conn := f.dial(t, "/a")
		answered := make(chan string, 1)
		conn.SetPongHandler(func(data string) error {
			answered <- data
			return nil
		})
		limit := time.Now().Add(timeout)
		if err := conn.WriteControl(websocket.PingMessage, []byte("hello"), limit); err != nil {
			t.Fatal(err)
		}
		if err := conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, ""), limit); err != nil {
			t.Fatal(err)
		}
		if err := end(t, conn); !websocket.IsCloseError(err, code) {
			t.Fatalf("end %v", err)
		}
		if data := <-answered; data != "hello" {
			t.Fatalf("pong %q", data)
		}
	}
	eventually(t, "both have left", func() bool { return f.clientCount() == 0 })
}

func TestMalformedFramesAreIgnoredAndOnesThatAreTooLargeEndTheConnection(t *testing.T) {
	f := started(t, nil)
	conn := f.dial(t, "/a")
	for _, text := range []string{"", "not JSON", `{"type":`, `{"type":"unknown"}`, "\xff\xfe"} {
		if err := conn.WriteMessage(websocket.BinaryMessage, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if err := conn.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	f.deliver("/a", "still here")
	if text := next(t, conn); text != "still here" {
		t.Fatalf("got %s", text)
	}
	if err := conn.WriteMessage(websocket.TextMessage, make([]byte, 2000)); err != nil {
		t.Fatal(err)
	}
	if err := end(t, conn); !websocket.IsCloseError(err, websocket.CloseMessageTooBig) {
		t.Fatalf("end %v", err)
	}
	eventually(t, "the client has left", func() bool { return f.clientCount() == 0 })
}

func TestThePauseDoublesUpToItsLimit(t *testing.T) {
	retry := Settings{RetryBase: time.Second, RetryMax: 5 * time.Second}
	for failures, want := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 3: 4 * time.Second, 4: 5 * time.Second, 1 << 30: 5 * time.Second} {
		if got := retry.RetryDelay(failures); got != want {
			t.Errorf("after %d failures: %v, want %v", failures, got, want)
		}
	}
}
