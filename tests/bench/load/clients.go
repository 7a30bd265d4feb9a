// Package load is what the load programs share: many websockets, and the processor time and memory of the server.
package load

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// MaxFrame is the size of the longest frame that is read, in bytes.
const MaxFrame = 4096

const ping = `{"type":"ping"}`

var pong = []byte(`{"type":"pong"}`)

// Clients is a number of open websockets, each read by a goroutine of its own.
type Clients struct {
	conns   []*websocket.Conn
	readers sync.WaitGroup
	mu      sync.Mutex
	ended   []error
}

// Open connects `clients` websockets to `address`. `received` is called for every frame but pings, which are answered,
// with the client's index and the frame's text; it is called by many goroutines, but by one per client. The text is
// only valid during the call: one buffer per client and no JSON parser, because on a small machine an expensive
// client would be measured in place of the server.
func Open(address string, clients int, received func(client int, text []byte)) (*Clients, error) {
	opened := &Clients{conns: make([]*websocket.Conn, clients)}
	for index := range opened.conns {
		conn, _, err := websocket.DefaultDialer.Dial(address, nil)
		if err != nil {
			opened.Close(0)
			return nil, fmt.Errorf("client %d: %w", index, err)
		}
		opened.conns[index] = conn
		opened.readers.Add(1)
		go func() {
			defer opened.readers.Done()
			if err := listen(conn, func(text []byte) { received(index, text) }); err != nil {
				opened.mu.Lock()
				opened.ended = append(opened.ended, err)
				opened.mu.Unlock()
			}
		}()
	}
	return opened, nil
}

// Close reads on for `grace`, so that what is under way still counts, and closes all. It returns how many
// connections had ended before that.
func (c *Clients) Close(grace time.Duration) (lost int) {
	for _, conn := range c.conns {
		if conn != nil {
			_ = conn.SetReadDeadline(time.Now().Add(grace))
		}
	}
	c.readers.Wait()
	return len(c.ended)
}

// listen reads until the deadline; any other end is an error.
func listen(conn *websocket.Conn, received func(text []byte)) error {
	defer func() { _ = conn.Close() }()
	buffer := make([]byte, MaxFrame)
	for {
		_, reader, err := conn.NextReader()
		var timeout interface{ Timeout() bool }
		if errors.As(err, &timeout) && timeout.Timeout() {
			return nil
		}
		if err != nil {
			return err
		}
		size, err := io.ReadFull(reader, buffer)
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("a frame of %d bytes or more", MaxFrame)
		}
		if string(buffer[:size]) == ping {
			_ = conn.WriteMessage(websocket.TextMessage, pong) // an ended connection shows at the next read
			continue
		}
		received(buffer[:size])
	}
}

// Milliseconds returns the given parts (0 to 1) of the sorted delays, in milliseconds with two decimals.
func Milliseconds(delays []time.Duration, parts ...float64) []float64 {
	if len(delays) == 0 {
		return make([]float64, len(parts))
	}
	slices.Sort(delays)
	result := make([]float64, len(parts))
	for index, part := range parts {
		delay := delays[int(part*float64(len(delays)-1))]
		result[index] = float64(delay.Round(10*time.Microsecond)) / float64(time.Millisecond)
	}
	return result
}
