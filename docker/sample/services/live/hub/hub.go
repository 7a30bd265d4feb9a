// Package hub owns which client listens to which topic: one Redis channel per topic, any number of clients on it.
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
	Open(topic *Topic)                    // the first client has come
	Ready(topic *Topic)                   // the subscription is confirmed, at first and after each reconnect
	Message(topic *Topic, payload string) // something was published
	Close(topic *Topic)                   // the last client has gone
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
	Sent        prometheus.Counter // data frames that clients took
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

// Attach gives the hub its Redis connection; feed and hub know each other, so one of them has to come second.
func (h *Hub) Attach(subs Subscriptions) { h.subs = subs }

// Topic is one channel and the clients that listen to it.
type Topic struct {
	Channel string // the Redis channel
	Name    string // what the client asked for

	users int           // clients here or about to come; guarded by Hub.mu
	ready chan struct{} // closed while the subscription is confirmed; guarded by Hub.mu

	inbox  chan post     // frames on their way to the members
	closed chan struct{} // ends the goroutine that delivers them

	mu       sync.Mutex
	members  map[*Client]struct{}
	retained *wire.Message
}

// post is a frame and whether clients who come later begin with it.
type post struct {
	message *wire.Message
	state   bool
}

// inboxSize is how many frames may wait for one topic before its publisher waits, and with it Redis.
const inboxSize = 64

// Join reserves a place on a topic and waits until Redis has confirmed the subscription, so that nothing published
// after the client sees its connection open can be missed. The client receives frames from now on; it must be ended
// with Serve or Abandon.
//
// ErrClosing and ErrNotReady (the wait ended with `ctx`) say why there is no place.
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
	topic.enter(client)
	h.mu.Lock()
	closing := h.closing
	h.mu.Unlock()
	if closing { // the hang-up may have passed this client by
		client.Abandon()
		return nil, ErrClosing
	}
	return client, nil
}

// leave gives a place back.
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

// Lost implements feed.Listener: newcomers wait again.
func (h *Hub) Lost() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, topic := range h.topics {
		if isClosed(topic.ready) {
			topic.ready = make(chan struct{})
		}
	}
}

// GaveUp implements feed.Listener: clients learn that nothing will come, and may try elsewhere or later.
func (h *Hub) GaveUp() {
	h.log.Error("redis unreachable, clients are hung up", "clients", h.Clients())
	h.hangUp(websocket.CloseTryAgainLater, "redis unreachable")
}

// Shutdown hangs up every client, refuses new ones, and returns when all have gone or `ctx` has ended.
func (h *Hub) Shutdown(ctx context.Context) {
	h.mu.Lock()
	h.closing = true
	h.mu.Unlock()
	h.hangUp(websocket.CloseGoingAway, "server shutting down")
	gone := make(chan struct{})
	go func() {
		h.running.Wait()
		close(gone)
	}()
	select {
	case <-gone:
	case <-ctx.Done():
		h.log.Warn("clients left behind", "clients", h.Clients())
	}
}

func (h *Hub) hangUp(code int, reason string) {
	h.mu.Lock()
	topics := make([]*Topic, 0, len(h.topics))
	for _, topic := range h.topics {
		topics = append(topics, topic)
	}
	h.mu.Unlock()
	for _, topic := range topics {
		topic.mu.Lock()
		for client := range topic.members {
			client.end(code, reason, true)
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

// enter makes a client a member; it begins with the retained frame.
func (t *Topic) enter(client *Client) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.members[client] = struct{}{}
	if t.retained != nil {
		client.offer(t.retained)
	}
}

// Publish hands a frame to every member; none of them is waited for, and who cannot keep up is dropped.
func (t *Topic) Publish(message *wire.Message) { t.post(post{message: message}) }

// PublishState is Publish for a frame that replaces the one before; clients who come later begin with it.
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

// fanOut offers a frame to every member and returns how many took it.
func (t *Topic) fanOut(p post) (taken int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p.state {
		t.retained = p.message
	}
	for client := range t.members {
		if client.offer(p.message) {
			taken++
		}
	}
	return taken
}

func isClosed(ready chan struct{}) bool {
	select {
	case <-ready:
		return true
	default:
		return false
	}
}
