// Package metrics owns counters and gauges and their text form for Prometheus (exposition format 0.0.4).
//
// A dozen plain numbers without labels do not need the client library, which would double the modules to look after.
package metrics

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
)

// Counter is a number that only grows. Its zero value counts but is shown nowhere.
type Counter struct{ value atomic.Uint64 }

// Add counts `amount` more.
func (c *Counter) Add(amount uint64) { c.value.Add(amount) }

// Value returns the present count.
func (c *Counter) Value() uint64 { return c.value.Load() }

type metric struct {
	name, kind, help string
	read             func() float64
}

// Registry is the list of what /metrics shows, in the order of registration.
type Registry struct {
	prefix string
	mu     sync.Mutex
	list   []metric
}

// NewRegistry returns an empty list whose names all start with `prefix` and "_".
func NewRegistry(prefix string) *Registry { return &Registry{prefix: prefix} }

// Counter registers a new counter; `name` ends with _total by convention.
func (r *Registry) Counter(name, help string) *Counter {
	counter := &Counter{}
	r.add(name, "counter", help, func() float64 { return float64(counter.Value()) })
	return counter
}

// Gauge registers a number that is read when it is asked for.
func (r *Registry) Gauge(name, help string, read func() float64) { r.add(name, "gauge", help, read) }

func (r *Registry) add(name, kind, help string, read func() float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, metric{name: r.prefix + "_" + name, kind: kind, help: help, read: read})
}

// WriteText writes every metric; it returns the writer's error.
func (r *Registry) WriteText(w io.Writer) error {
	r.mu.Lock()
	list := r.list
	r.mu.Unlock()
	for _, m := range list {
		number := strconv.FormatFloat(m.read(), 'f', -1, 64)
		if _, err := fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n%s %s\n", m.name, m.help, m.name, m.kind, m.name, number); err != nil {
			return err
		}
	}
	return nil
}

// ServeHTTP answers a scrape.
func (r *Registry) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_ = r.WriteText(w) // the scraper has gone; there is nobody left to tell
}
