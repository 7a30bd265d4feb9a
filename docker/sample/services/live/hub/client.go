package hub

import (
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/gorilla/websocket"

	"wepp.example/services/live/wire"
)

const (
	// A client this far behind is dropped. Frames are shared, so a backlog costs a slice header a frame and client,
	// but it keeps the frames themselves alive.
	backlogFrames = 8192
	backlogBytes  = 8 << 20
	// One write of a backlog; WriteTimeout is the time for this much.
	batchBytes = 64 << 10
	// What the kernel may hold for a client that does not read, so that a thousand of them cannot take gigabytes.
	socketBuffer = 128 << 10
	// How long a client may take to answer a close frame before its connection is cut.
	closeGrace = time.Second
)

// Client is one websocket connection and the frames that wait for it.
//
// Frames are written by whoever publishes, with one system call that never waits: a goroutine per client that is
// woken for every frame costs half as much again. Only a client whose socket is full gets a goroutine, for as long
// as it is behind. The websocket library does the handshake and the reading; everything written goes through write.
type Client struct {
	hub   *Hub
	topic *Topic

	mu       sync.Mutex
	conn     *websocket.Conn // nil until Serve
	raw      syscall.RawConn
	pings    *time.Timer
	backlog  []wire.Frame
	bytes    int  // of backlog
	flushing bool // a goroutine is writing the backlog
	ended    bool // nothing more is accepted
}

// Abandon gives up the place of a client whose connection never came about.
func (c *Client) Abandon() { c.hub.leave(c) }

// Serve runs the connection until it ends and then gives the place back. It returns at once. Frames that came
// since Join are written first.
func (c *Client) Serve(conn *websocket.Conn) {
	if err := c.open(conn); err != nil {
		c.hub.log.Error("connection refused", "topic", c.topic.Name, "error", err)
		_ = conn.Close()
		c.hub.leave(c)
		return
	}
	go func() {
		c.endAfterReading(c.read(conn))
		_ = conn.Close()
		c.hub.leave(c)
	}()
}

// open prepares the connection and writes what waits. The error says that it is not a plain TCP connection.
func (c *Client) open(conn *websocket.Conn) error {
	tcp, ok := conn.NetConn().(*net.TCPConn)
	if !ok {
		return errors.New("not a TCP connection")
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return err
	}
	_ = tcp.SetWriteBuffer(socketBuffer) // the default serves as well, it only holds more memory
	limits := c.hub.limits
	conn.SetReadLimit(limits.MaxMessageSize)
	conn.SetPingHandler(func(data string) error {
		c.offer(wire.Pong(data))
		return nil
	})
	conn.SetCloseHandler(func(code int, _ string) error {
		c.end(code, "", false)
		return nil
	})
	_ = conn.SetReadDeadline(time.Now().Add(limits.PongTimeout))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conn, c.raw = conn, raw
	c.pings = time.AfterFunc(limits.PingInterval, c.ping)
	c.flush()
	return nil
}

// read handles what the client says until it says no more; it returns why.
func (c *Client) read(conn *websocket.Conn) error {
	for {
		kind, text, err := conn.ReadMessage()
		if err != nil {
			return err
		}
		if kind != websocket.TextMessage {
			continue
		}
		signal, err := wire.ParseClient(text)
		if err != nil {
			c.hub.log.Debug("client frame ignored", "topic", c.topic.Name, "error", err)
			continue
		}
		if signal != wire.Unknown {
			c.extend()
		}
	}
}

// extend gives the client another PongTimeout, unless its end is already near.
func (c *Client) extend() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ended {
		_ = c.conn.SetReadDeadline(time.Now().Add(c.hub.limits.PongTimeout))
	}
}

// endAfterReading says goodbye as far as the reason why reading ended allows it.
func (c *Client) endAfterReading(err error) {
	var timeout net.Error // the library hides os.ErrDeadlineExceeded
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		c.end(websocket.CloseGoingAway, "no pong in time", true)
	case errors.Is(err, websocket.ErrReadLimit):
		// The library has sent the close frame (1009) itself.
	default:
		c.hub.log.Debug("client gone", "topic", c.topic.Name, "reason", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stop()
}

// ping sends the ping frame and orders the next one.
func (c *Client) ping() {
	c.offer(wire.Ping)
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ended {
		c.pings.Reset(c.hub.limits.PingInterval)
	}
}

// offer writes or queues a frame without waiting, or drops a client that is too far behind. It tells whether the
// client took it.
func (c *Client) offer(frame wire.Frame) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return false
	}
	if len(c.backlog) >= backlogFrames || c.bytes+len(frame) > backlogBytes {
		c.drop()
		return false
	}
	c.write(frame)
	return true
}

// end sends hangup, if wanted, and a close frame behind whatever still waits; only the first call has an effect.
// Reading goes on for closeGrace: cutting the connection at once could destroy what the client has not read yet.
func (c *Client) end(code int, reason string, hangup bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return
	}
	c.stop()
	if hangup {
		c.write(wire.Hangup)
	}
	c.write(wire.Close(code, reason))
}

// stop refuses further frames. The caller holds mu.
func (c *Client) stop() {
	c.ended = true
	if c.pings != nil {
		c.pings.Stop()
	}
}

// drop cuts a client that does not read; its socket is full, so no goodbye could reach it. The caller holds mu.
func (c *Client) drop() {
	c.hub.counts.SlowDropped.Add(1)
	c.cut()
}

// cut ends the connection without a word, which also ends its reader. The caller holds mu.
func (c *Client) cut() {
	c.stop()
	c.backlog, c.bytes = nil, 0
	if c.conn != nil {
		_ = c.conn.NetConn().Close()
	}
}

// write puts a frame on the connection, or behind the frames that wait. The caller holds mu.
func (c *Client) write(frame wire.Frame) {
	if c.raw == nil || c.flushing || len(c.backlog) > 0 {
		c.backlog = append(c.backlog, frame)
		c.bytes += len(frame)
		return
	}
	written, err := writeNow(c.raw, frame)
	switch {
	case err != nil:
		c.hub.counts.WriteErrors.Add(1)
		c.cut()
	case written < len(frame):
		c.backlog = append(c.backlog, frame[written:])
		c.bytes += len(frame) - written
		c.flush()
	case c.ended:
		c.awaitClose()
	}
}

// flush starts the goroutine for a backlog, if there is one. The caller holds mu.
func (c *Client) flush() {
	if len(c.backlog) > 0 && !c.flushing {
		c.flushing = true
		go c.writeBacklog()
	}
}

// writeBacklog writes until nothing waits. A batch that takes longer than WriteTimeout drops the client.
func (c *Client) writeBacklog() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.backlog) > 0 {
		batch := c.takeBatch()
		c.mu.Unlock()
		_ = c.conn.NetConn().SetWriteDeadline(time.Now().Add(c.hub.limits.WriteTimeout))
		_, err := batch.WriteTo(c.conn.NetConn())
		c.mu.Lock()
		if err != nil {
			c.flushing = false
			c.hub.counts.WriteErrors.Add(1)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				c.drop()
			} else {
				c.cut()
			}
			return
		}
	}
	_ = c.conn.NetConn().SetWriteDeadline(time.Time{}) // an old limit would fail the next write at once
	c.flushing = false
	if c.ended {
		c.awaitClose()
	}
}

// takeBatch takes the oldest frames, at least one and not much more than batchBytes. The caller holds mu.
func (c *Client) takeBatch() net.Buffers {
	var batch net.Buffers
	size := 0
	for _, frame := range c.backlog {
		if size >= batchBytes {
			break
		}
		batch = append(batch, frame)
		size += len(frame)
	}
	c.backlog = c.backlog[len(batch):]
	c.bytes -= size
	return batch
}

// awaitClose gives the client a last while to answer the close frame.
func (c *Client) awaitClose() { _ = c.conn.SetReadDeadline(time.Now().Add(closeGrace)) }

// writeNow writes as much as the socket takes at once.
func writeNow(raw syscall.RawConn, data []byte) (written int, err error) {
	outer := raw.Write(func(descriptor uintptr) bool {
		for {
			written, err = syscall.Write(int(descriptor), data)
			if !errors.Is(err, syscall.EINTR) {
				return true // also when the socket is full: nobody waits here
			}
		}
	})
	if outer != nil {
		return 0, outer
	}
	if errors.Is(err, syscall.EAGAIN) {
		return 0, nil
	}
	return max(written, 0), err
}
