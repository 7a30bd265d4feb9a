package hub

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"wepp.example/services/live/wire"
)

const timeout = 20 * time.Second

// relay publishes each message as its text, and keeps it when it is a state.
type relay struct{ state bool }

func (relay) Open(*Topic)  {}
func (relay) Ready(*Topic) {}
func (relay) Close(*Topic) {}

func (r relay) Message(topic *Topic, payload string) {
	if r.state {
		topic.PublishState(wire.Text([]byte(payload)))
		return
	}
	topic.Publish(wire.Text([]byte(payload)))
}

// fakeSubscriptions is a Redis that confirms at once, or only by hub.Ready.
type fakeSubscriptions struct {
	mu     sync.Mutex
	refuse bool
	wanted map[string]int
}

func (s *fakeSubscriptions) Add(channel string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wanted[channel]++
	return !s.refuse
}

func (s *fakeSubscriptions) Remove(channel string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wanted[channel]--
}

type fixture struct {
	*Hub
	subs   *fakeSubscriptions
	counts Counts
	url    string
}

func start(t *testing.T, handler Handler, change func(*Limits)) *fixture {
	t.Helper()
	limits := Limits{PingInterval: time.Hour, PongTimeout: time.Hour, WriteTimeout: timeout, MaxMessageSize: 1024}
	if change != nil {
		change(&limits)
	}
	counter := func() prometheus.Counter { return prometheus.NewCounter(prometheus.CounterOpts{Name: "counted"}) }
	counts := Counts{Sent: counter(), WriteErrors: counter(), SlowDropped: counter()}
	subs := &fakeSubscriptions{wanted: map[string]int{}}
	hub := New(handler, limits, counts, slog.New(slog.DiscardHandler))
	hub.Attach(subs)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		client, err := hub.Join(r.Context(), r.URL.Path, r.URL.Path)
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		conn, err := (&websocket.Upgrader{}).Upgrade(w, r, nil)
		if err != nil {
			client.Abandon()
			return
		}
		client.Serve(conn, func() {})
	}))
	t.Cleanup(server.Close)
	return &fixture{Hub: hub, subs: subs, counts: counts, url: "ws" + strings.TrimPrefix(server.URL, "http")}
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
	f := start(t, relay{}, nil)
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
	for f.counted(f.counts.SlowDropped) == 0 && sent < 5000 {
		f.Message("/a", text)
		sent++
		if sent%20 == 0 { // the reader must not be the slow one
			eventually(t, "the reader's frames are written", func() bool { return f.backlog("/a") <= 1 })
		}
	}
	f.Message("/a", "end")
	if got := <-received; got != sent || f.counted(f.counts.SlowDropped) != 1 {
		t.Fatalf("the reader got %d of %d, dropped %d", got, sent, f.counted(f.counts.SlowDropped))
	}
	eventually(t, "the slow client has left", func() bool { return f.Clients() == 1 })
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
	f := start(t, relay{}, func(limits *Limits) { limits.WriteTimeout = 50 * time.Millisecond })
	blocked := f.dial(t, "/a")
	_ = blocked.NetConn().(*net.TCPConn).SetReadBuffer(4096)
	text := strings.Repeat("x", 60_000)
	for range 100 { // six megabytes: more than the sockets take, less than the backlog may hold
		f.Message("/a", text)
	}
	eventually(t, "the client is dropped", func() bool { return f.counted(f.counts.SlowDropped) == 1 && f.Clients() == 0 })
}

func TestAClientThatIsBehindForAWhileGetsEveryFrameInOrder(t *testing.T) {
	f := start(t, relay{}, nil)
	conn := f.dial(t, "/a")
	filler := strings.Repeat("x", 3000)
	const frames = 2000
	for number := range frames {
		f.Message("/a", fmt.Sprintf("%d %s", number, filler))
	}
	eventually(t, "the client is behind", func() bool { return f.counted(f.counts.Sent) == frames && f.backlog("/a") == 1 })
	for number := range frames {
		if text := next(t, conn); !strings.HasPrefix(text, fmt.Sprintf("%d ", number)) {
			t.Fatalf("frame %d is %.10s", number, text)
		}
	}
	f.Message("/a", "direct again")
	if text := next(t, conn); text != "direct again" {
		t.Fatalf("got %.20s", text)
	}
}

func TestSilenceEndsWithHangupAndCloseFrameAndPongsPreventIt(t *testing.T) {
	f := start(t, relay{}, func(limits *Limits) {
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
	if f.Clients() < 1 {
		t.Fatal("the active client has left too")
	}
}

func TestShutdownClosesClientsAfterWhatIsQueuedAndRefusesNewOnes(t *testing.T) {
	f := start(t, relay{}, nil)
	conn := f.dial(t, "/a")
	f.Message("/a", "last")
	eventually(t, "the last message is accepted", func() bool { return f.counted(f.counts.Sent) == 1 })
	go f.Shutdown(t.Context())
	if first, second := next(t, conn), next(t, conn); first != "last" || second != `{"type":"hangup"}` {
		t.Fatalf("got %s, %s", first, second)
	}
	if err := end(t, conn); !websocket.IsCloseError(err, websocket.CloseGoingAway) {
		t.Fatalf("end %v", err)
	}
	if _, err := f.Join(t.Context(), "/a", "/a"); !errors.Is(err, ErrClosing) {
		t.Fatalf("new client: %v", err)
	}
}

func TestALaterClientBeginsWithTheNewestState(t *testing.T) {
	f := start(t, relay{state: true}, nil)
	first := f.dial(t, "/a")
	f.Message("/a", "old")
	f.Message("/a", "new")
	if a, b := next(t, first), next(t, first); a != "old" || b != "new" {
		t.Fatalf("got %s, %s", a, b)
	}
	if text := next(t, f.dial(t, "/a")); text != "new" {
		t.Fatalf("got %s", text)
	}
}

func TestAHandshakeWaitsForTheSubscription(t *testing.T) {
	f := start(t, relay{}, nil)
	f.subs.refuse = true
	early, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Join(early, "/a", "/a"); !errors.Is(err, ErrNotReady) {
		t.Fatalf("got %v", err)
	}
	joined := make(chan error, 1)
	go func() {
		client, err := f.Join(context.Background(), "/a", "/a")
		if err == nil {
			client.Abandon()
		}
		joined <- err
	}()
	eventually(t, "a client waits", func() bool { return f.Clients() == 1 })
	select {
	case err := <-joined:
		t.Fatalf("did not wait: %v", err)
	default:
	}
	f.Ready("/a")
	if err := <-joined; err != nil {
		t.Fatal(err)
	}
	if f.Topics() != 0 || f.subs.wanted["/a"] != 0 {
		t.Fatalf("topics %d, subscriptions %v", f.Topics(), f.subs.wanted)
	}
}

func TestAfterALossNewClientsWaitAgain(t *testing.T) {
	f := start(t, relay{}, nil)
	f.dial(t, "/a")
	f.Lost()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := f.Join(ctx, "/a", "/a"); !errors.Is(err, ErrNotReady) {
		t.Fatalf("got %v", err)
	}
}

func TestProtocolPingsAreAnsweredAndCloseFramesReturned(t *testing.T) {
	f := start(t, relay{}, nil)
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
	eventually(t, "both have left", func() bool { return f.Clients() == 0 })
}

func TestMalformedFramesAreIgnoredAndOnesThatAreTooLargeEndTheConnection(t *testing.T) {
	f := start(t, relay{}, nil)
	conn := f.dial(t, "/a")
	for _, text := range []string{"", "not JSON", `{"type":`, `{"type":"unknown"}`, "\xff\xfe"} {
		if err := conn.WriteMessage(websocket.BinaryMessage, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if err := conn.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	f.Message("/a", "still here")
	if text := next(t, conn); text != "still here" {
		t.Fatalf("got %s", text)
	}
	if err := conn.WriteMessage(websocket.TextMessage, make([]byte, 2000)); err != nil {
		t.Fatal(err)
	}
	if err := end(t, conn); !websocket.IsCloseError(err, websocket.CloseMessageTooBig) {
		t.Fatalf("end %v", err)
	}
	eventually(t, "the client has left", func() bool { return f.Clients() == 0 })
}
