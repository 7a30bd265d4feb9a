package live

import (
	"errors"
	"net"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

const (
	// A client this far behind is dropped. Messages are shared, so a queue costs a pointer a message and client, but it
	// keeps the messages themselves in memory.
	queueMessages = 8192
	queueBytes    = 8 << 20
	// What the kernel may hold for a client that does not read, so that a thousand of them cannot take gigabytes.
	socketBuffer = 128 << 10
	// How long a client may take to answer a close frame before its connection is cut.
	closeGrace = time.Second
)

// Client is one websocket connection and the messages that wait for it. One goroutine reads the connection and one
// writes, so that a client that is slow holds up nobody else.
type Client struct {
	hub    *Hub
	topic  *Topic
	wake   chan struct{} // holds a token when something was queued
	closed chan struct{} // closed with the connection

	mu    sync.Mutex
	conn  *websocket.Conn // nil until serve
	queue []*Message
	bytes int  // of queue
	ended bool // nothing more is accepted
}

// serve runs the connection until it ends and then removes the client. It returns at once and calls
// `ended` at the end. Messages that came since join are written first.
func (c *Client) serve(conn *websocket.Conn, ended func()) {
	if tcp, ok := conn.NetConn().(*net.TCPConn); ok {
		_ = tcp.SetWriteBuffer(socketBuffer) // the default serves as well, it only holds more memory
	}
	limits := c.hub.Settings
	conn.SetReadLimit(limits.MaxMessageSize)
	_ = conn.SetReadDeadline(time.Now().Add(limits.PongTimeout))
	c.mu.Lock()
	c.conn = conn
	c.mu.Unlock()
	written := make(chan struct{})
	go func() {
		defer close(written)
		c.write(conn)
	}()
	go func() {
		err := c.read(conn)
		c.hub.Log.Debug("client left", "topic", c.topic.Name, "reason", err)
		if isTimeout(err) {
			c.end(websocket.CloseGoingAway, "no pong in time")
			select {
			case <-written:
			case <-time.After(closeGrace):
			}
		}
		c.mu.Lock()
		c.cut()
		c.mu.Unlock()
		ended()
		c.hub.leave(c)
	}()
}

// read handles what the client sends until the connection ends; it returns why it ended.
func (c *Client) read(conn *websocket.Conn) error {
	for {
		kind, text, err := conn.ReadMessage()
		if err != nil {
			return err
		}
		if kind != websocket.TextMessage {
			continue
		}
		alive, err := isSignal(text)
		if err != nil {
			c.hub.Log.Debug("client frame ignored", "topic", c.topic.Name, "error", err)
		}
		if alive {
			c.extend()
		}
	}
}

// extend gives the client another PongTimeout, unless the connection is about to end.
func (c *Client) extend() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ended {
		_ = c.conn.SetReadDeadline(time.Now().Add(c.hub.Settings.PongTimeout))
	}
}

// offer queues a message without waiting, or drops a client that is too far behind. It reports whether the
// client accepted it.
func (c *Client) offer(message *Message) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return false
	}
	if len(c.queue) >= queueMessages || c.bytes+message.size > queueBytes {
		c.hub.slowDropped.Inc()
		c.cut()
		return false
	}
	c.append(message)
	return true
}

// end sends hangup and a close frame behind whatever still waits; only the first call has an effect.
// Reading goes on for closeGrace: cutting the connection at once could destroy what the client has not read yet.
func (c *Client) end(code int, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return
	}
	c.ended = true
	c.append(hangup)
	c.append(prepare(websocket.CloseMessage, websocket.FormatCloseMessage(code, reason)))
}

// append queues a message. The caller holds mu.
func (c *Client) append(message *Message) {
	c.queue = append(c.queue, message)
	c.bytes += message.size
	notify(c.wake)
}

// cut closes the connection without a close frame, which also ends its reader and its writer. The caller holds mu.
func (c *Client) cut() {
	c.ended = true
	c.queue, c.bytes = nil, 0
	select {
	case <-c.closed:
		return
	default:
		close(c.closed)
	}
	if c.conn != nil {
		_ = c.conn.Close()
	}
}

// write writes what is queued, and a ping at every interval, until the connection ends.
func (c *Client) write(conn *websocket.Conn) {
	pings := time.NewTicker(c.hub.Settings.PingInterval)
	defer pings.Stop()
	for {
		message, last := c.next()
		if message == nil {
			select {
			case <-c.wake:
			case <-pings.C:
				c.offer(ping)
			case <-c.closed:
				_ = conn.Close() // it may have been cut before it was there
				return
			}
			continue
		}
		_ = conn.SetWriteDeadline(time.Now().Add(c.hub.Settings.WriteTimeout))
		if err := conn.WritePreparedMessage(message.prepared); err != nil {
			c.failed(err)
			return
		}
		if last {
			_ = conn.SetReadDeadline(time.Now().Add(closeGrace))
			return
		}
	}
}

// next takes the oldest message, nil when there is none, and reports whether it is the last ever.
func (c *Client) next() (message *Message, last bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.queue) == 0 {
		return nil, false
	}
	message = c.queue[0]
	c.queue = c.queue[1:]
	c.bytes -= message.size
	return message, c.ended && len(c.queue) == 0
}

// failed cuts a connection to which a write has failed, and counts it.
func (c *Client) failed(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.closed: // no fault of the write
		return
	default:
	}
	c.hub.writeErrors.Inc()
	if isTimeout(err) {
		c.hub.slowDropped.Inc()
	}
	c.cut()
}

// isTimeout reports whether a deadline of the connection has passed; the library hides os.ErrDeadlineExceeded.
func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}
