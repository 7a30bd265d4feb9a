// Package wire is the messages that browsers and services exchange.
package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"

	"github.com/gorilla/websocket"
)

// Message is one message of a server, encoded once for any number of connections.
type Message struct {
	Prepared *websocket.PreparedMessage
	Size     int // bytes of the payload
}

// Ping and Hangup are the two messages that carry no data.
var (
	Ping   = Text([]byte(`{"type":"ping"}`))
	Hangup = Text([]byte(`{"type":"hangup"}`))
)

// Marshal returns the compact JSON of `value` with <, > and & left as they are: the text goes to JSON.parse and
// never into a page's source.
func Marshal(value any) ([]byte, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(text.Bytes(), []byte("\n")), nil
}

// Text makes a message of JSON text.
func Text(text []byte) *Message { return prepare(websocket.TextMessage, text) }

// Close makes a close frame of a code and a reason; the reason is cut to the 123 bytes that a control frame can carry.
func Close(code int, reason string) *Message {
	return prepare(websocket.CloseMessage, websocket.FormatCloseMessage(code, reason[:min(len(reason), 123)]))
}

func prepare(kind int, payload []byte) *Message {
	prepared, err := websocket.NewPreparedMessage(kind, payload)
	if err != nil {
		panic(err) // it refuses unknown kinds and control frames that are too long: neither can be
	}
	return &Message{Prepared: prepared, Size: len(payload)}
}

// Signal is what a client's frame means to the server.
type Signal int

// The signals; anything that is neither init nor pong is Unknown and ignored.
const (
	Unknown Signal = iota
	SignalInit
	SignalPong
)

// ErrNotJSON is returned for a text frame that is not a JSON object.
var ErrNotJSON = errors.New("client frame is not a JSON object")

// ParseClient reads a text frame of a client. The value of "type" is compared without regard to case.
func ParseClient(text []byte) (Signal, error) {
	var frame struct {
		Type json.RawMessage `json:"type"`
	}
	if err := json.Unmarshal(text, &frame); err != nil {
		return Unknown, ErrNotJSON
	}
	var name string
	if json.Unmarshal(frame.Type, &name) != nil {
		return Unknown, nil
	}
	switch strings.ToLower(name) {
	case "init":
		return SignalInit, nil
	case "pong":
		return SignalPong, nil
	default:
		return Unknown, nil
	}
}
