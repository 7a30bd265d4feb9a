// Command preflight2 shows the checklists of runs: GET /<run id> opens a websocket that tells the state of that run and
// every change of it. It is configured by its environment.
//
// Redis announces commands on hashes (notify-keyspace-events Kh), and each announcement leads to a read. Three things
// end or replace a hash without an announcement of that class: DEL and UNLINK, a time to live that runs out, and
// RENAME, RESTORE or FLUSHDB. Announcing those as well (class g) would send an event for every key of the database
// that is deleted, and would ask every operator to change the configuration of their Redis; so a hash is also read
// when nothing was announced for a while.
package main

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"wepp.example/services/live"
)

const (
	// After a read the next one waits this long, so that a burst of changes leads to one more read and not to one
	// per change. The first change of a burst is read at once.
	coalesce = 100 * time.Millisecond
	// The longest time that a change without an announcement stays unseen.
	rereadInterval = 5 * time.Second
)

func main() { live.Main(definition()) }

func definition() live.Definition {
	reads := prometheus.NewCounter(prometheus.CounterOpts{Name: "hash_reads_total", Help: "Reads of a run's hash."})
	return live.Definition{
		Name:           "preflight2",
		Prefix:         "PREFLIGHT",
		ListenAddress:  ":9001",
		Database:       0,
		RequestTimeout: 500 * time.Millisecond,
		SentName:       "messages_sent_total",
		Pattern:        regexp.MustCompile(`^[A-Za-z0-9_.;-]+$`),
		Invalid:        "invalid run id",
		// https://redis.io/docs/latest/develop/pubsub/keyspace-notifications/ - a plain subscription, because
		// a run id holds no wildcard and Redis compares every pattern with every message.
		Channel: func(database int, name string) string { return fmt.Sprintf("__keyspace@%d__:%s", database, name) },
		Latest:  true,
		Metrics: []prometheus.Collector{reads},
		Serve: func(ctx context.Context, tools live.Tools, topic *live.Topic) {
			follow(ctx, tools, topic, reads)
		},
	}
}

// follow reads a run's hash whenever something happened to it, or might have, and publishes a state that differs from
// the last. The first read follows the subscription, so that no change can fall between the two.
func follow(ctx context.Context, tools live.Tools, topic *live.Topic, reads prometheus.Counter) {
	var last []byte
	failures := 0
	var due <-chan time.Time // none before the first read
	for {
		select {
		case <-ctx.Done():
			return
		case <-topic.Messages:
		case <-due:
		}
		reads.Inc()
		text, err := state(ctx, tools, topic.Name)
		if ctx.Err() != nil {
			return
		}
		pause := rereadInterval
		if err != nil {
			failures++
			pause = tools.Settings.RetryDelay(failures)
			tools.Log.Warn("hash not read", "run", topic.Name, "again_in", pause.String(), "error", err)
		} else if failures = 0; !bytes.Equal(text, last) {
			last = text
			topic.Publish(text)
		}
		live.Sleep(ctx, coalesce)
		due = time.After(pause)
	}
}

// state returns the JSON text of a run's state. A key of another kind is no hash of a run: as if there was none.
func state(ctx context.Context, tools live.Tools, run string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, tools.Settings.RequestTimeout)
	defer cancel()
	hash, err := tools.Redis.HGetAll(ctx, run).Result()
	if err != nil && !strings.HasPrefix(err.Error(), "WRONGTYPE") {
		return nil, err
	}
	return live.JSON(evaluate(hash)), nil
}
