// Package server forwards what is published about a run in Redis to websockets.
package server

import (
	"context"
	"encoding/json"
	"log"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/redis/go-redis/v9"
	"nhooyr.io/websocket"

	"github.com/rogerlew/wepppy/services/status2/internal/config"
)

var channelName = regexp.MustCompile(`^[A-Za-z0-9_.;-]+:[A-Za-z0-9_.-]+$`)

type frame struct {
	Type string `json:"type"`
	Data string `json:"data,omitempty"`
}

// Server answers HTTP and holds the websockets.
type Server struct {
	settings  *config.Config
	redis     *redis.Client
	registry  *prometheus.Registry
	active    prometheus.Gauge
	forwarded prometheus.Counter
	failed    prometheus.Counter
	streams   sync.WaitGroup
	stopping  chan struct{}
}

// New makes a server upon a Redis client.
func New(settings *config.Config, client *redis.Client) *Server {
	made := &Server{
		settings:  settings,
		redis:     client,
		registry:  prometheus.NewRegistry(),
		active:    prometheus.NewGauge(prometheus.GaugeOpts{Name: "status2_connections_active"}),
		forwarded: prometheus.NewCounter(prometheus.CounterOpts{Name: "status2_messages_forwarded_total"}),
		failed:    prometheus.NewCounter(prometheus.CounterOpts{Name: "status2_write_errors_total"}),
		stopping:  make(chan struct{}),
	}
	made.registry.MustRegister(made.active, made.forwarded, made.failed)
	return made
}

// Stop ends all websockets with a hangup frame and waits for them.
func (s *Server) Stop() {
	close(s.stopping)
	s.streams.Wait()
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch {
	case r.Method != http.MethodGet:
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
	case name == "health":
		_, _ = w.Write([]byte("OK"))
	case name == "" || name == "metrics" && !s.settings.MetricsEnabled:
		http.NotFound(w, r)
	case name == "metrics":
		promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{}).ServeHTTP(w, r)
	case !channelName.MatchString(name):
		http.Error(w, "invalid channel", http.StatusBadRequest)
	default:
		s.upgrade(w, r, name)
	}
}

func (s *Server) upgrade(w http.ResponseWriter, r *http.Request, channel string) {
	origins := s.settings.AllowedOrigins
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		OriginPatterns: origins, InsecureSkipVerify: len(origins) == 0,
	})
	if err != nil {
		return // Accept has answered
	}
	s.streams.Add(1)
	defer s.streams.Done()
	s.active.Inc()
	defer s.active.Dec()
	conn.SetReadLimit(s.settings.MaxMessageSize)
	if err := s.stream(r.Context(), conn, channel); err != nil {
		s.failed.Inc()
		log.Printf("%s: %v", channel, err)
	}
}

// stream sends what is published on the channel until the client, Redis or the service ends it.
func (s *Server) stream(ctx context.Context, conn *websocket.Conn, channel string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer func() { _ = conn.CloseNow() }()
	subscription := s.redis.Subscribe(ctx, channel)
	defer func() { _ = subscription.Close() }()
	if _, err := subscription.Receive(ctx); err != nil {
		return err
	}
	heard := make(chan struct{}, 1)
	go listen(ctx, cancel, conn, heard)
	ping := time.NewTicker(s.settings.PingInterval)
	defer ping.Stop()
	idle := time.NewTimer(s.settings.PongTimeout)
	defer idle.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case <-s.stopping:
			return s.hangUp(ctx, conn)
		case <-idle.C:
			return s.hangUp(ctx, conn)
		case <-heard:
			idle.Reset(s.settings.PongTimeout)
		case <-ping.C:
			err = s.send(ctx, conn, frame{Type: "ping"})
		case message, open := <-subscription.Channel():
			if !open {
				return s.hangUp(ctx, conn)
			}
			s.forwarded.Inc()
			err = s.send(ctx, conn, frame{Type: "status", Data: message.Payload})
		}
		if err != nil {
			return err
		}
	}
}

// listen reads the client's frames; each `init` or `pong` counts as a sign of life, all else is ignored.
func listen(ctx context.Context, cancel context.CancelFunc, conn *websocket.Conn, heard chan<- struct{}) {
	defer cancel()
	for {
		_, text, err := conn.Read(ctx)
		if err != nil {
			return
		}
		var received frame
		if json.Unmarshal(text, &received) != nil {
			continue
		}
		if kind := strings.ToLower(received.Type); kind == "init" || kind == "pong" {
			select {
			case heard <- struct{}{}:
			default:
			}
		}
	}
}

func (s *Server) hangUp(ctx context.Context, conn *websocket.Conn) error {
	if err := s.send(ctx, conn, frame{Type: "hangup"}); err != nil {
		return err
	}
	return conn.Close(websocket.StatusGoingAway, "")
}

func (s *Server) send(ctx context.Context, conn *websocket.Conn, message frame) error {
	text, err := json.Marshal(message)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.settings.WriteTimeout)
	defer cancel()
	return conn.Write(ctx, websocket.MessageText, text)
}
