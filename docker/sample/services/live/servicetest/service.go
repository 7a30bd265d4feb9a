package servicetest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"wepp.example/services/live"
)

// Service is a service that runs within the test's process.
type Service struct {
	Address string
	stop    context.CancelFunc
	ended   chan struct{}
	err     error
	output  lockedBuffer
}

// Environment is a Lookup over the given variables, and nothing of the machine's own.
func Environment(values map[string]string) live.Lookup {
	return func(name string) string { return values[name] }
}

// StartService runs a service against a Redis, with further variables, until the test ends.
func StartService(t *testing.T, definition live.Definition, server *Redis, variables map[string]string) *Service {
	t.Helper()
	values := map[string]string{
		"REDIS_HOST": "127.0.0.1", "REDIS_PORT": strconv.Itoa(server.Port),
		definition.Prefix + "_LISTEN_ADDR": "127.0.0.1:0", definition.Prefix + "_METRICS_ENABLED": "true",
		definition.Prefix + "_LOG_LEVEL": "debug",
	}
	for name, value := range variables {
		values[name] = value
	}
	ctx, cancel := context.WithCancel(context.Background())
	running := &Service{stop: cancel, ended: make(chan struct{})}
	listening := make(chan net.Addr, 1)
	go func() {
		defer close(running.ended)
		running.err = live.Run(ctx, definition, Environment(values), &running.output, func(address net.Addr) { listening <- address })
	}()
	select {
	case address := <-listening:
		running.Address = address.String()
	case <-running.ended:
		cancel()
		t.Fatalf("service did not start: %v", running.err)
	case <-time.After(Timeout):
		cancel()
		t.Fatal("service did not start in time")
	}
	t.Cleanup(func() {
		if err := running.Stop(); err != nil {
			t.Errorf("service ended with %v", err)
		}
		if t.Failed() {
			t.Log(running.output.String())
		}
	})
	return running
}

// Stop does what SIGTERM does, waits for the end and returns the service's error.
func (s *Service) Stop() error {
	s.stop()
	select {
	case <-s.ended:
		return s.err
	case <-time.After(Timeout):
		return errors.New("did not end in time")
	}
}

// Get returns status and body of a plain request.
func (s *Service) Get(t *testing.T, path string) (int, string) {
	t.Helper()
	reply, err := http.Get("http://" + s.Address + path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = reply.Body.Close() }()
	body, err := io.ReadAll(reply.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply.StatusCode, string(body)
}

// Metric returns the value of one metric by its full name.
func (s *Service) Metric(t *testing.T, name string) float64 {
	t.Helper()
	_, body := s.Get(t, "/metrics")
	for _, line := range strings.Split(body, "\n") {
		if text, ok := strings.CutPrefix(line, name+" "); ok {
			value, err := strconv.ParseFloat(text, 64)
			if err != nil {
				t.Fatal(err)
			}
			return value
		}
	}
	t.Fatalf("no metric %s in %s", name, body)
	return 0
}

// Page is a client's end of a websocket.
type Page struct {
	t    *testing.T
	Conn *websocket.Conn
}

// Open connects to /<name> and fails the test when that is refused.
func (s *Service) Open(t *testing.T, name string) *Page {
	t.Helper()
	conn, reply, err := websocket.DefaultDialer.Dial("ws://"+s.Address+"/"+name, nil)
	if err != nil {
		t.Fatalf("handshake: %v (%v)", err, reply)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &Page{t: t, Conn: conn}
}

// Next returns the next frame that is no ping, as text. Pings do not prolong the timeout.
func (p *Page) Next() string {
	p.t.Helper()
	_ = p.Conn.SetReadDeadline(time.Now().Add(Timeout))
	for {
		_, text, err := p.Conn.ReadMessage()
		if err != nil {
			p.t.Fatalf("no further frame: %v", err)
		}
		if string(text) != `{"type":"ping"}` {
			return string(text)
		}
		if err := p.Conn.WriteMessage(websocket.TextMessage, []byte(`{"type":"pong"}`)); err != nil {
			p.t.Logf("pong not sent: %v", err) // the connection may be about to end
		}
	}
}

// Decode reads the next frame that is no ping into `target`.
func (p *Page) Decode(target any) {
	p.t.Helper()
	text := p.Next()
	if err := json.Unmarshal([]byte(text), target); err != nil {
		p.t.Fatalf("%s: %v", text, err)
	}
}

// CloseCode reads to the end and returns the code of the close frame, or 1006 when there was none.
func (p *Page) CloseCode() int {
	p.t.Helper()
	_ = p.Conn.SetReadDeadline(time.Now().Add(Timeout))
	for {
		_, _, err := p.Conn.ReadMessage()
		var closed *websocket.CloseError
		switch {
		case err == nil:
		case errors.As(err, &closed):
			return closed.Code
		default:
			p.t.Fatalf("connection ended without a close frame: %v", err)
		}
	}
}

type lockedBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *lockedBuffer) Write(data []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(data)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

// Output is the service's log so far.
func (s *Service) Output() string { return s.output.String() }
