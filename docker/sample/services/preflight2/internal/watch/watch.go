// Package watch reads the hash of a run when it changes and publishes its state to every page of the run.
//
// Redis announces commands on hashes (notify-keyspace-events Kh), and each announcement leads to a read. Three things
// end or replace a hash without an announcement of that class: DEL and UNLINK, a time to live that runs out, and
// RENAME, RESTORE or FLUSHDB. A sweep therefore asks for the number of fields of every watched run (HLEN, one round
// trip for all of them) and reads a run whose number has changed; every fifteenth sweep reads all, because a hash may
// be replaced by one with as many fields. Announcing those commands as well (class g) would send an event for every
// key of the database that is deleted, and would ask every operator to change the configuration of their Redis.
package watch

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/redis/go-redis/v9"

	"wepp.example/services/live/feed"
	"wepp.example/services/live/hub"
	"wepp.example/services/live/wire"
	"wepp.example/services/preflight2/internal/checklist"
)

const (
	// After a read the next one waits this long, so that a burst of changes leads to one more read and not to one
	// per change. The first change of a burst is read at once.
	coalesce = 100 * time.Millisecond
	// SweepInterval is the longest time that a deletion stays unseen.
	SweepInterval = 2 * time.Second
	fullSweep     = 15
	sweepBatch    = 500
)

// Watcher reads the hashes of the runs whose pages are open. It is the hub.Handler of the service.
type Watcher struct {
	client *redis.Client
	limit  time.Duration // of one read
	retry  feed.Retry
	log    *slog.Logger
	reads  prometheus.Counter

	mu     sync.Mutex
	runs   map[*hub.Topic]*run
	silent bool // Redis announces no changes
}

// run is one watched hash.
type run struct {
	name   string
	topic  *hub.Topic
	dirty  chan struct{} // a read is due; capacity 1
	again  chan struct{} // Redis is back, a failed read need not wait; capacity 1
	cancel context.CancelFunc

	mu     sync.Mutex
	fields int64 // of the newest read; -1 before the first
}

// New returns a watcher; `limit` bounds one command and `retry` spaces attempts after a failed read.
func New(client *redis.Client, limit time.Duration, retry feed.Retry, figures promauto.Factory, log *slog.Logger) *Watcher {
	watcher := &Watcher{client: client, limit: limit, retry: retry, log: log, runs: map[*hub.Topic]*run{},
		reads: figures.NewCounter(prometheus.CounterOpts{Name: "hash_reads_total", Help: "Reads of a run's hash."})}
	figures.NewGaugeFunc(prometheus.GaugeOpts{Name: "keyspace_events_enabled", Help: "0 when Redis does not announce changes of hashes (Kh)."}, func() float64 {
		watcher.mu.Lock()
		defer watcher.mu.Unlock()
		if watcher.silent {
			return 0
		}
		return 1
	})
	return watcher
}

// Open starts to watch a run. The first read follows Ready, so that no change can fall between the two.
func (w *Watcher) Open(topic *hub.Topic) {
	ctx, cancel := context.WithCancel(context.Background())
	watched := &run{name: topic.Name, topic: topic, dirty: make(chan struct{}, 1), again: make(chan struct{}, 1), cancel: cancel, fields: -1}
	w.mu.Lock()
	w.runs[topic] = watched
	w.mu.Unlock()
	go w.follow(ctx, watched)
}

// Close ends the watch.
func (w *Watcher) Close(topic *hub.Topic) {
	w.mu.Lock()
	watched := w.runs[topic]
	delete(w.runs, topic)
	w.mu.Unlock()
	if watched != nil {
		watched.cancel()
	}
}

// Ready reads after each subscription: what was announced before it was not received.
func (w *Watcher) Ready(topic *hub.Topic) {
	if watched := w.find(topic); watched != nil {
		signal(watched.dirty)
		signal(watched.again)
	}
}

// Message marks a run as changed; what exactly happened does not matter, since the whole hash is read.
func (w *Watcher) Message(topic *hub.Topic, _ string) {
	if watched := w.find(topic); watched != nil {
		signal(watched.dirty)
	}
}

func (w *Watcher) find(topic *hub.Topic) *run {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.runs[topic]
}

// signal puts a token into a channel of capacity 1; one that is there already counts for this change, too.
func signal(pending chan<- struct{}) {
	select {
	case pending <- struct{}{}:
	default:
	}
}

// follow reads a run whenever it is marked and publishes a state that differs from the last.
func (w *Watcher) follow(ctx context.Context, watched *run) {
	var last []byte
	failures := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-watched.dirty:
		}
		var again <-chan struct{}
		pause := coalesce
		text, err := w.read(ctx, watched)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			failures++
			pause, again = w.retry.Delay(failures), watched.again
			w.log.Warn("hash not read", "run", watched.name, "again_in", pause.String(), "error", err)
			signal(watched.dirty)
		default:
			failures = 0
			if !bytes.Equal(text, last) {
				last = text
				watched.topic.PublishState(wire.Text(text))
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-again:
		case <-time.After(pause):
		}
	}
}

// read returns the JSON text of the run's state.
func (w *Watcher) read(ctx context.Context, watched *run) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, w.limit)
	defer cancel()
	w.reads.Inc()
	hash, err := w.client.HGetAll(ctx, watched.name).Result()
	if err != nil && !isWrongType(err) {
		return nil, err
	}
	// A key of another kind is no hash of a run: err is set and hash is empty, as for a run that does not exist.
	watched.mu.Lock()
	watched.fields = int64(len(hash))
	watched.mu.Unlock()
	return wire.Marshal(checklist.Evaluate(hash))
}

// Run sweeps until `ctx` ends.
func (w *Watcher) Run(ctx context.Context) {
	tick := time.NewTicker(SweepInterval)
	defer tick.Stop()
	for round := 0; ; round++ {
		if round%fullSweep == 0 {
			w.checkEvents(ctx)
		}
		w.mu.Lock()
		all := round%fullSweep == 0 || w.silent
		w.mu.Unlock()
		w.sweep(ctx, all)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// checkEvents reads from Redis whether it announces changes at all. Without them every sweep reads every run, which is
// slower and costs more. A Redis that does not permit CONFIG GET is taken to announce them.
func (w *Watcher) checkEvents(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, w.limit)
	defer cancel()
	values, err := w.client.ConfigGet(ctx, "notify-keyspace-events").Result()
	if err != nil {
		return
	}
	classes, known := values["notify-keyspace-events"]
	silent := known && !(strings.Contains(classes, "K") && strings.ContainsAny(classes, "hA"))
	w.mu.Lock()
	changed := silent != w.silent
	w.silent = silent
	w.mu.Unlock()
	if changed && silent {
		w.log.Error("redis does not announce changes of hashes; set notify-keyspace-events to Kh", "now", classes)
	}
}

// sweep marks the runs whose number of fields has changed, or all of them.
func (w *Watcher) sweep(ctx context.Context, all bool) {
	w.mu.Lock()
	runs := make([]*run, 0, len(w.runs))
	for _, watched := range w.runs {
		runs = append(runs, watched)
	}
	w.mu.Unlock()
	for start := 0; start < len(runs) && ctx.Err() == nil; start += sweepBatch {
		batch := runs[start:min(start+sweepBatch, len(runs))]
		if all {
			for _, watched := range batch {
				watched.markIfRead()
			}
			continue
		}
		if err := w.compare(ctx, batch); err != nil {
			w.log.Debug("sweep ended early", "error", err)
			return
		}
	}
}

// compare asks for the number of fields of each run in one round trip.
func (w *Watcher) compare(ctx context.Context, batch []*run) error {
	ctx, cancel := context.WithTimeout(ctx, w.limit)
	defer cancel()
	pipeline := w.client.Pipeline()
	lengths := make([]*redis.IntCmd, len(batch))
	for index, watched := range batch {
		lengths[index] = pipeline.HLen(ctx, watched.name)
	}
	if _, err := pipeline.Exec(ctx); err != nil && !isWrongType(err) {
		return err
	}
	for index, watched := range batch {
		length, err := lengths[index].Result()
		if err != nil && !isWrongType(err) {
			return err
		}
		watched.mu.Lock()
		differs := watched.fields >= 0 && watched.fields != length
		watched.mu.Unlock()
		if differs {
			signal(watched.dirty)
		}
	}
	return nil
}

// markIfRead marks a run, unless its first read is still to come.
func (r *run) markIfRead() {
	r.mu.Lock()
	read := r.fields >= 0
	r.mu.Unlock()
	if read {
		signal(r.dirty)
	}
}

func isWrongType(err error) bool { return strings.HasPrefix(err.Error(), "WRONGTYPE") }
