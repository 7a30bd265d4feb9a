// Package load owns what the load programs share: a crowd of websockets, and what the server costs meanwhile.
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

// MaxFrame is the size of the longest frame that a crowd reads, in bytes.
const MaxFrame = 4096

const ping = `{"type":"ping"}`

var pong = []byte(`{"type":"pong"}`)

// Crowd is a number of open websockets, each read by a goroutine of its own.
type Crowd struct {
	conns   []*websocket.Conn
	readers sync.WaitGroup
	mu      sync.Mutex
	ended   []error
}

// Open connects `clients` websockets to `address`. `heard` is called for every frame but pings, which are answered,
// with the client's index and the frame's text; it is called by many goroutines, but by one per client. The text is
// only valid during the call: one buffer per client and no JSON parser, because on a small machine a dear client
// would be measured in place of the server.
func Open(address string, clients int, heard func(client int, text []byte)) (*Crowd, error) {
	crowd := &Crowd{conns: make([]*websocket.Conn, clients)}
	for index := range crowd.conns {
		conn, _, err := websocket.DefaultDialer.Dial(address, nil)
		if err != nil {
			crowd.Close(0)
			return nil, fmt.Errorf("client %d: %w", index, err)
		}
		crowd.conns[index] = conn
		crowd.readers.Add(1)
		go func() {
			defer crowd.readers.Done()
			if err := listen(conn, func(text []byte) { heard(index, text) }); err != nil {
				crowd.mu.Lock()
				crowd.ended = append(crowd.ended, err)
				crowd.mu.Unlock()
			}
		}()
	}
	return crowd, nil
}

// Close reads on for `grace`, so that what is under way still counts, and closes all. It returns how many
// connections had ended before that.
func (c *Crowd) Close(grace time.Duration) (lost int) {
	for _, conn := range c.conns {
		if conn != nil {
			_ = conn.SetReadDeadline(time.Now().Add(grace))
		}
	}
	c.readers.Wait()
	return len(c.ended)
}

// listen reads until the deadline; any other end is an error.
func listen(conn *websocket.Conn, heard func(text []byte)) error {
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
		heard(buffer[:size])
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
