package server

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// checkInterval is the shortest time between two questions to Redis; requests in between get the last answer.
const checkInterval = time.Second

// Health answers /health: 200 and OK, or 503 and the reason.
type Health struct {
	check   func(ctx context.Context) error
	limit   time.Duration
	stopped atomic.Bool

	mu      sync.Mutex
	checked time.Time
	problem error
}

// NewHealth returns a health that asks `check`, at most once a second and no longer than `limit`.
func NewHealth(check func(ctx context.Context) error, limit time.Duration) *Health {
	return &Health{check: check, limit: limit}
}

// Stop makes every further answer a 503, so that a proxy sends new requests elsewhere during shutdown.
func (h *Health) Stop() { h.stopped.Store(true) }

// Problem returns what is wrong, nil when all is well.
func (h *Health) Problem() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if time.Since(h.checked) > checkInterval {
		// Not the request's context: a request that is cancelled must not make the service look unhealthy to the others.
		ctx, cancel := context.WithTimeout(context.Background(), h.limit)
		defer cancel()
		h.problem = h.check(ctx)
		h.checked = time.Now()
	}
	return h.problem
}

// ServeHTTP implements http.Handler.
func (h *Health) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if h.stopped.Load() {
		http.Error(w, "shutting down", http.StatusServiceUnavailable)
		return
	}
	if err := h.Problem(); err != nil {
		http.Error(w, "redis: "+err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte("OK")) // fails only when the client has disconnected
}
