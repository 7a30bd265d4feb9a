package live

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
)

// server answers /health, /metrics and the websocket of every name.
type server struct {
	*Hub
	access     access
	perAddress *perAddress
	metrics    http.Handler
	check      func(ctx context.Context) error // of Redis, for the health
	stopped    atomic.Bool                     // health fails, so that a proxy sends new requests elsewhere during shutdown
	upgrader   websocket.Upgrader
}

func newServer(hub *Hub, metrics http.Handler) *server {
	s := &server{
		Hub: hub, metrics: metrics, access: newAccess(hub.Settings.AccessURL),
		perAddress: &perAddress{limit: hub.Settings.MaxPerAddress, proxies: hub.Settings.Proxies, open: map[netip.Prefix]int{}},
		check:      func(ctx context.Context) error { return explain(hub.Redis.Ping(ctx).Err()) },
	}
	s.upgrader = websocket.Upgrader{
		HandshakeTimeout: 5 * time.Second,
		CheckOrigin:      s.isAllowed,
		// Prepared messages do not pass through a connection's buffer: after the handshake it goes back to a pool.
		WriteBufferPool: &sync.Pool{},
		Error: func(w http.ResponseWriter, _ *http.Request, status int, reason error) {
			http.Error(w, reason.Error(), status)
		},
	}
	return s
}

// ServeHTTP implements http.Handler. The paths are compared as they are: a ServeMux would redirect some to others.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	switch {
	case r.Method != http.MethodGet:
		w.Header().Set("Allow", http.MethodGet)
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
	case r.URL.Path == "/health":
		s.health(w)
	case r.URL.Path == "/metrics" && s.Settings.MetricsEnabled:
		s.metrics.ServeHTTP(w, r)
	case r.URL.Path == "/metrics", r.URL.Path == "", r.URL.Path == "/":
		http.NotFound(w, r)
	default:
		s.connect(w, r)
	}
}

// health answers 200 and OK, or 503 and the reason. The Redis client has few connections, which bounds the questions.
func (s *server) health(w http.ResponseWriter) {
	w.Header().Set("Cache-Control", "no-store")
	if s.stopped.Load() {
		http.Error(w, "shutting down", http.StatusServiceUnavailable)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.Settings.RequestTimeout)
	defer cancel()
	if err := s.check(ctx); err != nil {
		http.Error(w, "redis: "+err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte("OK")) // fails only when the client has disconnected
}

// connect checks the request, subscribes, and completes the handshake after that.
func (s *server) connect(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if !s.definition.Pattern.MatchString(name) {
		http.Error(w, s.definition.Invalid, http.StatusBadRequest)
		return
	}
	if !websocket.IsWebSocketUpgrade(r) {
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "websocket")
		http.Error(w, "websocket upgrade required", http.StatusUpgradeRequired)
		return
	}
	if !s.isAllowed(r) {
		http.Error(w, "origin not allowed", http.StatusForbidden)
		return
	}
	release, ok := s.perAddress.acquire(r)
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
	run, _, _ := strings.Cut(name, ":")
	if err := s.access.check(r.Context(), r.Header, run); errors.Is(err, errNoRun) {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	} else if err != nil {
		unavailable(w, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.Settings.RequestTimeout)
	defer cancel()
	client, err := s.join(ctx, s.definition.Channel(s.Redis.Options().DB, name), name)
	if err != nil {
		unavailable(w, err)
		return
	}
	conn, err := s.upgrader.Upgrade(w, r, nil)
	if err != nil {
		s.leave(client)
		s.Log.Debug("handshake failed", "name", name, "error", err)
		return
	}
	served = true
	open, ended := context.WithCancel(context.Background())
	s.access.repeat(open, r.Header, run, func() { client.end(websocket.ClosePolicyViolation, errNoRun.Error()) })
	client.serve(conn, func() {
		ended()
		release()
	})
}

// isAllowed reports whether a request may open a websocket. Only browsers send Origin, and only in them can a foreign
// page act for a visitor, so a request without it passes; so does a page from this very host (RFC 6455 section 10.2).
func (s *server) isAllowed(r *http.Request) bool {
	header := r.Header.Get("Origin")
	if header == "" {
		return true
	}
	origin, err := url.Parse(strings.ToLower(header))
	if err != nil || origin.Host == "" {
		return false // among them "null", the origin of sandboxed pages and local files
	}
	if origin.Host == strings.ToLower(r.Host) {
		return true
	}
	for _, pattern := range s.Settings.AllowedOrigins {
		subject := origin.Host
		if strings.Contains(pattern, "://") {
			subject = origin.Scheme + "://" + origin.Host
		}
		if ok, _ := path.Match(pattern, subject); ok {
			return true
		}
	}
	return false
}

// unavailable answers 503 for a failure that may pass within a second.
func unavailable(w http.ResponseWriter, reason error) {
	w.Header().Set("Retry-After", "1")
	http.Error(w, reason.Error(), http.StatusServiceUnavailable)
}
