// Package server tells websockets how far a run is, from its hash in Redis.
package server

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/redis/go-redis/v9"
	"nhooyr.io/websocket"

	"github.com/rogerlew/wepppy/services/preflight2/internal/checklist"
	"github.com/rogerlew/wepppy/services/preflight2/internal/config"
)

var runID = regexp.MustCompile(`^[A-Za-z0-9_.;-]+$`)

type frame struct {
	Type string `json:"type"`
}

type state struct {
	Type         string          `json:"type"`
	Checklist    map[string]bool `json:"checklist"`
	LockStatuses map[string]bool `json:"lock_statuses"`
	LastModified int64           `json:"last_modified,omitempty"`
}

// Server answers HTTP and holds the websockets.
type Server struct {
	settings *config.Config
	redis    *redis.Client
	registry *prometheus.Registry
	active   prometheus.Gauge
	sent     prometheus.Counter
	failed   prometheus.Counter
	streams  sync.WaitGroup
	stopping chan struct{}
}

// New makes a server upon a Redis client.
func New(settings *config.Config, client *redis.Client) *Server {
	made := &Server{
		settings: settings,
		redis:    client,
		registry: prometheus.NewRegistry(),
		active:   prometheus.NewGauge(prometheus.GaugeOpts{Name: "preflight2_connections_active"}),
		sent:     prometheus.NewCounter(prometheus.CounterOpts{Name: "preflight2_messages_sent_total"}),
		failed:   prometheus.NewCounter(prometheus.CounterOpts{Name: "preflight2_write_errors_total"}),
		stopping: make(chan struct{}),
	}
	made.registry.MustRegister(made.active, made.sent, made.failed)
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
	case !runID.MatchString(name):
		http.Error(w, "invalid run id", http.StatusBadRequest)
	default:
		s.upgrade(w, r, name)
	}
}

func (s *Server) upgrade(w http.ResponseWriter, r *http.Request, run string) {
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
	if err := s.stream(r.Context(), conn, run); err != nil {
		s.failed.Inc()
		log.Printf("%s: %v", run, err)
	}
}

// stream sends the run's state, and again whenever an event of its hash has changed it, until one side ends it.
func (s *Server) stream(ctx context.Context, conn *websocket.Conn, run string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer func() { _ = conn.CloseNow() }()
	// Subscribed before the first look, so that no change falls between the two.
	subscription := s.redis.PSubscribe(ctx, fmt.Sprintf("__keyspace@%d__:%s", s.settings.Redis.DB, run))
	defer func() { _ = subscription.Close() }()
	if _, err := subscription.Receive(ctx); err != nil {
		return err
	}
	last, err := s.look(ctx, run)
	if err != nil {
		return err
	}
	if err := s.send(ctx, conn, last); err != nil {
		return err
	}
	s.sent.Inc()
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
		case _, open := <-subscription.Channel():
			if !open {
				return s.hangUp(ctx, conn)
			}
			var now state
			if now, err = s.look(ctx, run); err == nil && !reflect.DeepEqual(now, last) {
				last = now
				s.sent.Inc()
				err = s.send(ctx, conn, now)
			}
		}
		if err != nil {
			return err
		}
	}
}

// look reads the run's hash; a run without one has an empty state.
func (s *Server) look(ctx context.Context, run string) (state, error) {
	ctx, cancel := context.WithTimeout(ctx, s.settings.RequestTimeout)
	defer cancel()
	hash, err := s.redis.HGetAll(ctx, run).Result()
	if err != nil {
		return state{}, err
	}
	locks := map[string]bool{}
	for field, value := range hash {
		if name, found := strings.CutPrefix(field, "locked:"); found {
			locks[name] = value == "true"
		}
	}
	modified, _ := strconv.ParseInt(hash["last_modified"], 10, 64)
	return state{"preflight", checklist.Evaluate(hash), locks, modified}, nil
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

func (s *Server) send(ctx context.Context, conn *websocket.Conn, message any) error {
	text, err := json.Marshal(message)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.settings.WriteTimeout)
	defer cancel()
	return conn.Write(ctx, websocket.MessageText, text)
}
