// Package feed is the one Redis connection in subscriber mode that all clients of a service share.
//
// Callers add and remove channels; the feed subscribes and unsubscribes them, reconnects with growing pauses, and reports
// when a subscription is confirmed. Protocol: https://redis.io/docs/latest/develop/pubsub/
package feed

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
)

// Listener is called for each event. All its methods are called from one goroutine, in the order of the events.
type Listener interface {
	Ready(channel string)            // Redis has confirmed the subscription: at first and after each reconnect
	Message(channel, payload string) // one published message
	Lost()                           // the connection is gone; messages may be missed until the next Ready
	GaveUp()                         // Retry.Limit attempts in a row have failed
}

// Retry is the pause between attempts to connect.
type Retry struct {
	Base, Max time.Duration // the pause doubles from Base to Max
	Limit     int           // failures before GaveUp; 0 or less means never. Attempts go on afterwards.
}

// Delay returns the pause after `failures` attempts in a row have failed (1 or more).
func (r Retry) Delay(failures int) time.Duration {
	delay := r.Base
	for step := 1; step < failures && delay < r.Max; step++ {
		delay *= 2
	}
	return min(delay, r.Max)
}

const (
	// A lost connection is tried again after this pause, because a restarted Redis is mostly back at once; it also
	// bounds the attempts that new clients can cause.
	shortestPause = 100 * time.Millisecond
	// An idle connection is probed this often, and given up when three probes bring no answer.
	probeInterval = 5 * time.Second
	// Channels in one SUBSCRIBE command.
	batchSize = 500
)

var errSilent = errors.New("redis does not answer on the subscription connection")

// subscription is what is known about one channel.
type subscription struct {
	wanted    bool // added and not removed
	sent      bool // SUBSCRIBE was sent on the present connection and no UNSUBSCRIBE after it
	confirmed bool // Redis has answered the newest SUBSCRIBE
	pending   int  // SUBSCRIBE commands without an answer
}

// Feed is the shared connection. Make one with New and start it with Run.
type Feed struct {
	client     *redis.Client
	listener   Listener
	retry      Retry
	log        *slog.Logger
	reconnects prometheus.Counter
	changed    chan struct{} // channels were added or removed; capacity 1
	added      chan struct{} // a client waits for a new channel; capacity 1
	lastReply  atomic.Int64  // Unix nanoseconds

	mu       sync.Mutex
	channels map[string]*subscription
}

// New returns a feed that is not connected yet; `reconnects` counts connections after the first.
func New(client *redis.Client, listener Listener, retry Retry, reconnects prometheus.Counter, log *slog.Logger) *Feed {
	return &Feed{
		client: client, listener: listener, retry: retry, log: log, reconnects: reconnects,
		changed: make(chan struct{}, 1), added: make(chan struct{}, 1), channels: map[string]*subscription{},
	}
}

// Add subscribes a channel and never blocks. True means that it is subscribed already and no Ready will follow.
func (f *Feed) Add(channel string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	entry := f.channels[channel]
	if entry == nil {
		entry = &subscription{}
		f.channels[channel] = entry
	}
	entry.wanted = true
	signal(f.changed)
	signal(f.added)
	return entry.confirmed
}

// Remove unsubscribes a channel and never blocks.
func (f *Feed) Remove(channel string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if entry := f.channels[channel]; entry != nil {
		entry.wanted = false
		signal(f.changed)
	}
}

// signal puts a token into a channel of capacity 1; one that is there already counts for this event, too.
func signal(pending chan<- struct{}) {
	select {
	case pending <- struct{}{}:
	default:
	}
}

// Run keeps the connection up until `ctx` ends.
func (f *Feed) Run(ctx context.Context) {
	failures := 0
	connectedBefore, early := false, false
	for ctx.Err() == nil {
		connected, err := f.session(ctx, connectedBefore)
		if ctx.Err() != nil {
			return
		}
		if connected {
			connectedBefore = true
			failures = 0
			f.log.Warn("redis subscription lost", "error", err)
			f.reset()
			f.listener.Lost()
			early = f.wait(ctx, shortestPause)
			continue
		}
		// An early attempt does not count: many new clients must not use up the attempts after which all are closed.
		if !early {
			failures++
			if f.retry.Limit > 0 && failures%f.retry.Limit == 0 {
				f.listener.GaveUp()
			}
		}
		f.log.Warn("redis subscription not possible", "failures", failures, "error", err)
		early = f.wait(ctx, f.retry.Delay(max(failures, 1)))
	}
}

// wait pauses, and reports whether it ended early because a client waits for a new channel.
func (f *Feed) wait(ctx context.Context, pause time.Duration) (early bool) {
	short := time.NewTimer(min(pause, shortestPause))
	defer short.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-short.C:
	}
	if pause <= shortestPause {
		return false
	}
	rest := time.NewTimer(pause - shortestPause)
	defer rest.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-rest.C:
		return false
	case <-f.added:
		return true
	}
}

// session runs one connection to its end; `connected` reports whether Redis answered at all.
func (f *Feed) session(ctx context.Context, again bool) (connected bool, err error) {
	link := f.client.Subscribe(ctx)
	defer func() { _ = link.Close() }()
	if err := link.Ping(ctx); err != nil {
		return false, err
	}
	// The first answer is awaited with a limit: a server that is still loading refuses here.
	if _, err := link.ReceiveTimeout(ctx, f.client.Options().ReadTimeout); err != nil {
		return false, err
	}
	if again {
		f.reconnects.Inc()
	}
	f.reset()
	f.replied()
	signal(f.changed)

	ended := make(chan struct{})
	var writing sync.WaitGroup
	writing.Go(func() { f.write(ctx, link, ended) })
	err = f.receive(link)
	close(ended)
	_ = link.Close()
	writing.Wait()
	return true, err
}

// receive reads until the connection fails. It reads without a time limit: a limit that strikes within a message
// would leave half of it in the reader and corrupt all that follows. write closes a connection that is dead.
func (f *Feed) receive(link *redis.PubSub) error {
	for {
		event, err := link.ReceiveTimeout(context.Background(), 0)
		if err != nil {
			return err
		}
		f.replied()
		switch event := event.(type) {
		case *redis.Message:
			f.listener.Message(event.Channel, event.Payload)
		case *redis.Subscription:
			if event.Kind == "subscribe" && f.confirm(event.Channel) {
				f.listener.Ready(event.Channel)
			}
		}
	}
}

// write sends what has changed and probes an idle connection; it closes the connection to end a session.
func (f *Feed) write(ctx context.Context, link *redis.PubSub, ended <-chan struct{}) {
	probe := time.NewTicker(probeInterval)
	defer probe.Stop()
	for {
		var err error
		select {
		case <-ended:
			return
		case <-ctx.Done():
			_ = link.Close()
			return
		case <-f.changed:
			err = f.synchronise(ctx, link)
		case <-probe.C:
			silence := time.Since(time.Unix(0, f.lastReply.Load()))
			switch {
			case silence > 3*probeInterval:
				err = errSilent
			case silence >= probeInterval/2:
				err = link.Ping(ctx)
			}
		}
		if err != nil {
			f.log.Warn("redis subscription connection closed", "error", err)
			_ = link.Close()
			return
		}
	}
}

// synchronise sends SUBSCRIBE and UNSUBSCRIBE for what was added and removed.
func (f *Feed) synchronise(ctx context.Context, link *redis.PubSub) error {
	var subscribe, unsubscribe []string
	f.mu.Lock()
	for channel, entry := range f.channels {
		switch {
		case entry.wanted && !entry.sent:
			entry.sent = true
			entry.pending++
			subscribe = append(subscribe, channel)
		case !entry.wanted && entry.sent:
			entry.sent, entry.confirmed = false, false
			unsubscribe = append(unsubscribe, channel)
		}
		if !entry.wanted && entry.pending == 0 {
			delete(f.channels, channel)
		}
	}
	f.mu.Unlock()
	for start := 0; start < len(unsubscribe); start += batchSize {
		if err := link.Unsubscribe(ctx, unsubscribe[start:min(start+batchSize, len(unsubscribe))]...); err != nil {
			return err
		}
	}
	for start := 0; start < len(subscribe); start += batchSize {
		if err := link.Subscribe(ctx, subscribe[start:min(start+batchSize, len(subscribe))]...); err != nil {
			return err
		}
	}
	return nil
}

// confirm records one answer to SUBSCRIBE and reports whether a channel that is wanted is subscribed now. An answer to
// an older SUBSCRIBE does not count: an UNSUBSCRIBE may lie between the two.
func (f *Feed) confirm(channel string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	entry := f.channels[channel]
	if entry == nil {
		return false
	}
	entry.pending = max(entry.pending-1, 0)
	if entry.pending > 0 || !entry.sent {
		if !entry.wanted && entry.pending == 0 {
			delete(f.channels, channel)
		}
		return false
	}
	entry.confirmed = true
	return entry.wanted
}

// reset marks every channel as unknown to Redis, for a new connection.
func (f *Feed) reset() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for channel, entry := range f.channels {
		if !entry.wanted {
			delete(f.channels, channel)
			continue
		}
		*entry = subscription{wanted: true}
	}
}

func (f *Feed) replied() { f.lastReply.Store(time.Now().UnixNano()) }
