package live

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"github.com/redis/go-redis/v9"
)

const (
	// A lost connection to Redis is tried again after this pause, because a restarted Redis is mostly back at once; it
	// also bounds the attempts that clients can cause.
	shortestPause = 100 * time.Millisecond
	// The connection is probed this often, and given up when three probes bring no answer.
	probeInterval = 5 * time.Second
	// Channels in one SUBSCRIBE command.
	batchSize = 500
)

// run keeps the connection to Redis up until `ctx` ends. A client that comes or goes leads to an attempt at once, which
// does not count: many of them must not use up the attempts after which all are closed.
func (h *Hub) run(ctx context.Context) {
	failures, connectedBefore := 0, false
	var due time.Time // of the next attempt that counts
	for ctx.Err() == nil {
		connected, err := h.session(ctx, connectedBefore)
		if ctx.Err() != nil {
			return
		}
		if connected {
			failures, connectedBefore, due = 0, true, time.Now()
		} else if !time.Now().Before(due) {
			failures++
			due = time.Now().Add(h.Settings.RetryDelay(failures))
			if limit := h.Settings.MaxRetries; limit > 0 && failures%limit == 0 {
				h.Log.Error("redis unreachable, clients are closed", "clients", h.clientCount())
				h.closeAll(websocket.CloseTryAgainLater, "redis unreachable") // they try again later
			}
		}
		h.Log.Warn("no redis subscription", "failures", failures, "again_in", time.Until(due).String(), "error", err)
		h.lose()
		Sleep(ctx, shortestPause)
		select {
		case <-ctx.Done():
		case <-h.changed:
		case <-time.After(time.Until(due)):
		}
	}
}

// session runs one connection to its end; `connected` reports whether Redis answered at all.
func (h *Hub) session(ctx context.Context, again bool) (connected bool, err error) {
	link := h.Redis.Subscribe(ctx)
	defer func() { _ = link.Close() }()
	if err := link.Ping(ctx); err != nil {
		return false, err
	}
	// The first answer is awaited with a limit: a server that is still loading refuses here.
	if _, err := link.ReceiveTimeout(ctx, h.Settings.RequestTimeout); err != nil {
		return false, err
	}
	if again {
		h.reconnects.Inc()
	}
	notify(h.changed)
	ctx, cancel := context.WithCancel(ctx)
	var writing sync.WaitGroup
	writing.Go(func() {
		if err := h.write(ctx, link); err != nil {
			h.Log.Warn("redis subscription connection closed", "error", err)
		}
		_ = link.Close()
	})
	defer writing.Wait()
	defer cancel()
	for {
		// A limit that strikes within a message leaves half of it in the reader: the connection is not used any more.
		event, err := link.ReceiveTimeout(ctx, 3*probeInterval)
		if err != nil {
			return true, err
		}
		switch event := event.(type) {
		case *redis.Message:
			h.deliver(event.Channel, event.Payload)
		case *redis.Subscription:
			if event.Kind == "subscribe" {
				h.confirm(event.Channel)
			}
		}
	}
}

// write sends what has changed and probes the connection until `ctx` ends.
func (h *Hub) write(ctx context.Context, link *redis.PubSub) error {
	probe := time.NewTicker(probeInterval)
	defer probe.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case <-h.changed:
			err = h.synchronise(ctx, link)
		case <-probe.C:
			err = link.Ping(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// synchronise sends SUBSCRIBE for topics that came and UNSUBSCRIBE for those that went. One that is not confirmed yet
// is kept until it is, so that the next confirmation of a channel always belongs to the newest SUBSCRIBE.
func (h *Hub) synchronise(ctx context.Context, link *redis.PubSub) error {
	var subscribe, unsubscribe []string
	h.mu.Lock()
	for channel := range h.topics {
		if _, sent := h.subscribed[channel]; !sent {
			h.subscribed[channel] = false
			subscribe = append(subscribe, channel)
		}
	}
	for channel, confirmed := range h.subscribed {
		if confirmed && h.topics[channel] == nil {
			delete(h.subscribed, channel)
			unsubscribe = append(unsubscribe, channel)
		}
	}
	h.mu.Unlock()
	for batch := range slices.Chunk(unsubscribe, batchSize) {
		if err := link.Unsubscribe(ctx, batch...); err != nil {
			return err
		}
	}
	for batch := range slices.Chunk(subscribe, batchSize) {
		if err := link.Subscribe(ctx, batch...); err != nil {
			return err
		}
	}
	return nil
}

// confirm lets the clients in that wait for a subscription.
func (h *Hub) confirm(channel string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.subscribed[channel] = true
	if topic := h.topics[channel]; topic != nil {
		topic.confirm()
	} else {
		notify(h.changed)
	}
}

// confirm marks a topic as subscribed. What was announced before was not received, so the newest is to be read. The
// caller holds Hub.mu.
func (t *Topic) confirm() {
	if !isClosed(t.ready) {
		close(t.ready)
	}
	if t.hub.definition.Latest {
		t.post("")
	}
}

// lose forgets the subscriptions of a connection that has ended: new clients wait again.
func (h *Hub) lose() {
	h.mu.Lock()
	defer h.mu.Unlock()
	clear(h.subscribed)
	for _, topic := range h.topics {
		if isClosed(topic.ready) {
			topic.ready = make(chan struct{})
		}
	}
}
