// Package server is the HTTP side of a service: routes, refusals and the websocket handshake.
package server

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/gorilla/websocket"

	"wepp.example/services/live/hub"
)

// Route is which names a service serves, and the Redis channel and the run that belong to a name.
type Route struct {
	Pattern *regexp.Regexp           // matches a whole name
	Invalid string                   // answer (400) to any other name
	Channel func(name string) string // Redis channel of a name
	Run     func(name string) string // id of the run that a name belongs to
}

// Server answers /health, /metrics and the websocket of every name.
type Server struct {
	route      Route
	hub        *hub.Hub
	access     Access
	perAddress *PerAddress
	health     http.Handler
	metrics    http.Handler // nil switches /metrics off
	wait       time.Duration
	log        *slog.Logger
	upgrader   websocket.Upgrader
}

// New returns the handler of a service. `wait` bounds how long a handshake waits for its Redis subscription.
func New(route Route, clients *hub.Hub, origins Origins, access Access, perAddress *PerAddress, health, metrics http.Handler, wait time.Duration, log *slog.Logger) *Server {
	return &Server{
		route: route, hub: clients, access: access, perAddress: perAddress, health: health, metrics: metrics, wait: wait, log: log,
		upgrader: websocket.Upgrader{
			HandshakeTimeout: 5 * time.Second,
			CheckOrigin:      origins.Allow,
			// Prepared messages do not pass through a connection's buffer: after the handshake it goes back to a pool.
			WriteBufferPool: &bufferPool,
			Error: func(w http.ResponseWriter, _ *http.Request, status int, reason error) {
				http.Error(w, reason.Error(), status)
			},
		},
	}
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", http.MethodGet)
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	switch r.URL.Path {
	case "/health":
		s.health.ServeHTTP(w, r)
	case "/metrics":
		if s.metrics == nil {
			http.NotFound(w, r)
			return
		}
		s.metrics.ServeHTTP(w, r)
	case "", "/":
		http.NotFound(w, r)
	default:
		s.connect(w, r)
	}
}

// connect checks the request, subscribes, and completes the handshake after that.
func (s *Server) connect(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if !s.route.Pattern.MatchString(name) {
		http.Error(w, s.route.Invalid, http.StatusBadRequest)
		return
	}
	if !websocket.IsWebSocketUpgrade(r) {
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "websocket")
		http.Error(w, "websocket upgrade required", http.StatusUpgradeRequired)
		return
	}
	if !s.upgrader.CheckOrigin(r) {
		http.Error(w, "origin not allowed", http.StatusForbidden)
		return
	}
	release, ok := s.perAddress.Acquire(r)
	if !ok {
		w.Header().Set("Retry-After", "60")
		http.Error(w, "too many websockets are open from this address", http.StatusTooManyRequests)
		return
	}
	served := false
	defer func() {
		if !served {
			release()
		}
	}()
	if err := s.access.Check(r.Context(), r, s.route.Run(name)); errors.Is(err, ErrNoRun) {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	} else if err != nil {
		unavailable(w, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.wait)
	defer cancel()
	client, err := s.hub.Join(ctx, s.route.Channel(name), name)
	if err != nil {
		unavailable(w, err)
		return
	}
	conn, err := s.upgrader.Upgrade(w, r, nil)
	if err != nil {
		client.Abandon()
		var handshake websocket.HandshakeError
		if !errors.As(err, &handshake) {
			s.log.Debug("handshake failed", "name", name, "error", err)
		}
		return
	}
	served = true
	client.Serve(conn, release)
}

// unavailable answers 503 for a failure that may pass within a second.
func unavailable(w http.ResponseWriter, reason error) {
	w.Header().Set("Retry-After", "1")
	http.Error(w, reason.Error(), http.StatusServiceUnavailable)
}
