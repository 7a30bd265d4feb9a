package live

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// inboxSize is how many messages may wait for one topic before Redis waits.
const inboxSize = 64

// Errors of join.
var (
	errClosing  = errors.New("shutting down")
	errNotReady = errors.New("redis subscription not possible")
)

// Hub connects clients to topics: one Redis channel per topic, any number of clients on it, and one connection in
// subscriber mode for all. Protocol: https://redis.io/docs/latest/develop/pubsub/
type Hub struct {
	Tools
	definition Definition
	changed    chan struct{} // topics came or went; capacity 1

	sent, writeErrors, slowDropped, reconnects prometheus.Counter

	mu         sync.Mutex
	topics     map[string]*Topic
	subscribed map[string]bool // channels sent to Redis on the present connection, and whether it has confirmed them
	clients    int
	closing    bool
	running    sync.WaitGroup // one per client
}

func newHub(definition Definition, tools Tools, metrics promauto.Factory) *Hub {
	counter := func(name, help string) prometheus.Counter {
		return metrics.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	hub := &Hub{
		Tools: tools, definition: definition, changed: make(chan struct{}, 1),
		topics: map[string]*Topic{}, subscribed: map[string]bool{},
		sent:        counter(definition.SentName, "Data frames taken by clients."),
		writeErrors: counter("write_errors_total", "Writes to a client that failed."),
		slowDropped: counter("slow_clients_dropped_total", "Clients dropped because they did not keep up."),
		reconnects:  counter("redis_reconnects_total", "Subscription connections made anew after a loss."),
	}
	active := prometheus.GaugeOpts{Name: "connections_active", Help: "Clients connected now."}
	metrics.NewGaugeFunc(active, func() float64 { return float64(hub.clientCount()) })
	return hub
}

// Topic is one channel and the clients that listen to it.
type Topic struct {
	Name     string        // what the client asked for
	Messages <-chan string // what was published; with Definition.Latest a token for it and for each subscription

	channel string
	hub     *Hub
	inbox   chan string
	ended   context.Context
	end     context.CancelFunc
	users   int           // clients that have joined or are joining; protected by Hub.mu
	ready   chan struct{} // closed while the subscription is confirmed; protected by Hub.mu

	mu       sync.Mutex
	members  map[*Client]struct{}
	retained *Message
}

func (h *Hub) newTopic(channel, name string) *Topic {
	size := inboxSize
	if h.definition.Latest {
		size = 1
	}
	topic := &Topic{
		Name: name, channel: channel, hub: h, inbox: make(chan string, size),
		ready: make(chan struct{}), members: map[*Client]struct{}{},
	}
	topic.Messages = topic.inbox
	topic.ended, topic.end = context.WithCancel(context.Background())
	return topic
}

// join adds a client to a topic and waits until Redis has confirmed the subscription, so that nothing published
// after the client sees its connection open can be missed. The client receives messages from now on; Client.serve or
// leave must follow.
//
// errClosing and errNotReady (the wait ended with `ctx`) say why the client could not join.
func (h *Hub) join(ctx context.Context, channel, name string) (*Client, error) {
	h.mu.Lock()
	if h.closing {
		h.mu.Unlock()
		return nil, errClosing
	}
	topic := h.topics[channel]
	if topic == nil {
		topic = h.newTopic(channel, name)
		h.topics[channel] = topic
		go h.definition.Serve(topic.ended, h.Tools, topic)
		if h.subscribed[channel] {
			topic.confirm()
		} else {
			notify(h.changed)
		}
	}
	topic.users++
	h.clients++
	h.running.Add(1)
	ready := topic.ready
	h.mu.Unlock()

	client := &Client{hub: h, topic: topic, wake: make(chan struct{}, 1), closed: make(chan struct{})}
	select {
	case <-ready:
	case <-ctx.Done():
		h.leave(client)
		return nil, errNotReady
	}
	topic.add(client)
	h.mu.Lock()
	closing := h.closing
	h.mu.Unlock()
	if closing { // closeAll may have run before this client was a member
		h.leave(client)
		return nil, errClosing
	}
	return client, nil
}

// leave removes a client whose connection has ended or was never established.
func (h *Hub) leave(client *Client) {
	topic := client.topic
	topic.mu.Lock()
	delete(topic.members, client)
	topic.mu.Unlock()

	h.mu.Lock()
	topic.users--
	h.clients--
	if topic.users == 0 {
		delete(h.topics, topic.channel)
		topic.end()
		notify(h.changed)
	}
	h.mu.Unlock()
	h.running.Done()
}

// clientCount returns how many clients there are.
func (h *Hub) clientCount() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.clients
}

// deliver passes a published message on to its topic.
func (h *Hub) deliver(channel, payload string) {
	h.mu.Lock()
	topic := h.topics[channel]
	h.mu.Unlock()
	if topic != nil {
		topic.post(payload)
	}
}

// post queues a message. Where only the newest state counts, a token that waits already counts for this one, too.
func (t *Topic) post(payload string) {
	if t.hub.definition.Latest {
		select {
		case t.inbox <- payload:
		default:
		}
		return
	}
	select {
	case t.inbox <- payload:
	case <-t.ended.Done():
	}
}

// shutdown closes every client, refuses new ones, and returns when all have left or `ctx` has ended.
func (h *Hub) shutdown(ctx context.Context) {
	h.mu.Lock()
	h.closing = true
	h.mu.Unlock()
	h.closeAll(websocket.CloseGoingAway, "server shutting down")
	left := make(chan struct{})
	go func() {
		h.running.Wait()
		close(left)
	}()
	select {
	case <-left:
	case <-ctx.Done():
		h.Log.Warn("clients did not close in time", "clients", h.clientCount())
	}
}

func (h *Hub) closeAll(code int, reason string) {
	h.mu.Lock()
	topics := make([]*Topic, 0, len(h.topics))
	for _, topic := range h.topics {
		topics = append(topics, topic)
	}
	h.mu.Unlock()
	for _, topic := range topics {
		topic.mu.Lock()
		for client := range topic.members {
			client.end(code, reason)
		}
		topic.mu.Unlock()
	}
}

// add makes a client a member; it begins with the retained message.
func (t *Topic) add(client *Client) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.members[client] = struct{}{}
	if t.retained != nil {
		client.offer(t.retained)
	}
}

// Publish offers a JSON text to every member without waiting; a member that is too far behind is dropped. With
// Definition.Latest, clients that join later begin with it.
func (t *Topic) Publish(text []byte) {
	message := prepare(websocket.TextMessage, text)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.hub.definition.Latest {
		t.retained = message
	}
	accepted := 0
	for client := range t.members {
		if client.offer(message) {
			accepted++
		}
	}
	t.hub.sent.Add(float64(accepted))
}

// notify puts a token into a channel of capacity 1; one that is there already counts for this event, too.
func notify(pending chan<- struct{}) {
	select {
	case pending <- struct{}{}:
	default:
	}
}

func isClosed(ready chan struct{}) bool {
	select {
	case <-ready:
		return true
	default:
		return false
	}
}

// Sleep waits for a time, or less when `ctx` ends.
func Sleep(ctx context.Context, pause time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(pause):
	}
}
