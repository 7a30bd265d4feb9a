// Package hub connects clients to topics: one Redis channel per topic, any number of clients on it.
package hub

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"github.com/prometheus/client_golang/prometheus"

	"wepp.example/services/live/wire"
)

// Subscriptions is the hub's side of the shared Redis connection (see package feed).
type Subscriptions interface {
	Add(channel string) (ready bool)
	Remove(channel string)
}

// Handler is what a service does with its topics. None of them may block: Open and Close are called with the
// hub locked, Ready and Message hold up the other topics.
type Handler interface {
	Open(topic *Topic)                    // the first client has joined
	Ready(topic *Topic)                   // the subscription is confirmed, at first and after each reconnect
	Message(topic *Topic, payload string) // something was published
	Close(topic *Topic)                   // the last client has left
}

// Limits bound what one client may cost.
type Limits struct {
	PingInterval   time.Duration
	PongTimeout    time.Duration
	WriteTimeout   time.Duration
	MaxMessageSize int64 // bytes
}

// Counts are the hub's metrics.
type Counts struct {
	Sent        prometheus.Counter // data messages that clients accepted
	WriteErrors prometheus.Counter // writes that failed
	SlowDropped prometheus.Counter // clients dropped because they did not keep up
}

// Errors of Join.
var (
	ErrClosing  = errors.New("shutting down")
	ErrNotReady = errors.New("redis subscription not possible")
)

// Hub holds the topics that have clients.
type Hub struct {
	handler Handler
	limits  Limits
	counts  Counts
	log     *slog.Logger
	subs    Subscriptions

	mu      sync.Mutex
	topics  map[string]*Topic
	clients int
	closing bool
	running sync.WaitGroup // one per client
}

// New returns an empty hub. Attach must follow before the first Join.
func New(handler Handler, limits Limits, counts Counts, log *slog.Logger) *Hub {
	return &Hub{handler: handler, limits: limits, counts: counts, log: log, topics: map[string]*Topic{}}
}

// Attach gives the hub its Redis connection; feed and hub refer to each other, so one of them is set afterwards.
func (h *Hub) Attach(subs Subscriptions) { h.subs = subs }

// Topic is one channel and the clients that listen to it.
type Topic struct {
	Channel string // the Redis channel
	Name    string // what the client asked for

	users int           // clients that have joined or are joining; guarded by Hub.mu
	ready chan struct{} // closed while the subscription is confirmed; guarded by Hub.mu

	inbox  chan post     // messages to be delivered to the members
	closed chan struct{} // ends the goroutine that delivers them

	mu       sync.Mutex
	members  map[*Client]struct{}
	retained *wire.Message
}

// post is a message and whether it is retained: clients that join later begin with it.
type post struct {
	message *wire.Message
	state   bool
}

// inboxSize is how many messages may wait for one topic before its publisher waits, and with it Redis.
const inboxSize = 64

// Join adds a client to a topic and waits until Redis has confirmed the subscription, so that nothing published
// after the client sees its connection open can be missed. The client receives messages from now on; Serve or Abandon
// must follow.
//
// ErrClosing and ErrNotReady (the wait ended with `ctx`) say why the client could not join.
func (h *Hub) Join(ctx context.Context, channel, name string) (*Client, error) {
	h.mu.Lock()
	if h.closing {
		h.mu.Unlock()
		return nil, ErrClosing
	}
	topic := h.topics[channel]
	if topic == nil {
		topic = newTopic(channel, name)
		h.topics[channel] = topic
		go topic.deliver(h.counts)
		h.handler.Open(topic)
		if h.subs.Add(channel) {
			close(topic.ready)
			h.handler.Ready(topic)
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
		client.Abandon()
		return nil, ErrNotReady
	}
	topic.add(client)
	h.mu.Lock()
	closing := h.closing
	h.mu.Unlock()
	if closing { // closeAll may have run before this client was a member
		client.Abandon()
		return nil, ErrClosing
	}
	return client, nil
}

// leave removes a client.
func (h *Hub) leave(client *Client) {
	topic := client.topic
	topic.mu.Lock()
	delete(topic.members, client)
	topic.mu.Unlock()

	h.mu.Lock()
	topic.users--
	h.clients--
	if topic.users == 0 {
		delete(h.topics, topic.Channel)
		h.subs.Remove(topic.Channel)
		h.handler.Close(topic)
		close(topic.closed)
	}
	h.mu.Unlock()
	h.running.Done()
}

// Clients returns how many clients there are.
func (h *Hub) Clients() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.clients
}

// Topics returns how many topics have clients.
func (h *Hub) Topics() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.topics)
}

// Ready implements feed.Listener.
func (h *Hub) Ready(channel string) {
	h.mu.Lock()
	topic := h.topics[channel]
	if topic != nil && !isClosed(topic.ready) {
		close(topic.ready)
	}
	h.mu.Unlock()
	if topic != nil {
		h.handler.Ready(topic)
	}
}

// Message implements feed.Listener.
func (h *Hub) Message(channel, payload string) {
	h.mu.Lock()
	topic := h.topics[channel]
	h.mu.Unlock()
	if topic != nil {
		h.handler.Message(topic, payload)
	}
}

// Lost implements feed.Listener: new clients wait again.
func (h *Hub) Lost() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, topic := range h.topics {
		if isClosed(topic.ready) {
			topic.ready = make(chan struct{})
		}
	}
}

// GaveUp implements feed.Listener: clients are closed, so that they try again later.
func (h *Hub) GaveUp() {
	h.log.Error("redis unreachable, clients are closed", "clients", h.Clients())
	h.closeAll(websocket.CloseTryAgainLater, "redis unreachable")
}

// Shutdown closes every client, refuses new ones, and returns when all have left or `ctx` has ended.
func (h *Hub) Shutdown(ctx context.Context) {
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
		h.log.Warn("clients did not close in time", "clients", h.Clients())
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

func newTopic(channel, name string) *Topic {
	return &Topic{
		Channel: channel, Name: name, ready: make(chan struct{}), members: map[*Client]struct{}{},
		inbox: make(chan post, inboxSize), closed: make(chan struct{}),
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

// Publish offers a message to every member without waiting; a member that is too far behind is dropped.
func (t *Topic) Publish(message *wire.Message) { t.post(post{message: message}) }

// PublishState is Publish for a message that replaces the one before; clients that join later begin with it.
func (t *Topic) PublishState(message *wire.Message) { t.post(post{message: message, state: true}) }

func (t *Topic) post(p post) {
	select {
	case t.inbox <- p:
	case <-t.closed:
	}
}

// deliver runs beside the feed, so that a topic with many members does not delay the others.
func (t *Topic) deliver(counts Counts) {
	for {
		select {
		case <-t.closed:
			return
		case p := <-t.inbox:
			counts.Sent.Add(float64(t.fanOut(p)))
		}
	}
}

// fanOut offers a message to every member and returns how many accepted it.
func (t *Topic) fanOut(p post) (accepted int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p.state {
		t.retained = p.message
	}
	for client := range t.members {
		if client.offer(p.message) {
			accepted++
		}
	}
	return accepted
}

func isClosed(ready chan struct{}) bool {
	select {
	case <-ready:
		return true
	default:
		return false
	}
}
