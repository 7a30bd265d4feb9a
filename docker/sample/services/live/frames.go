package live

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"

	"github.com/gorilla/websocket"
)

// Message is one message of a server, encoded once for any number of connections.
type Message struct {
	prepared *websocket.PreparedMessage
	size     int // bytes of the payload
}

// The two messages that carry no data.
var (
	ping   = prepare(websocket.TextMessage, []byte(`{"type":"ping"}`))
	hangup = prepare(websocket.TextMessage, []byte(`{"type":"hangup"}`))
)

// JSON returns the compact text of texts, flags and numbers with <, > and & left as they are: it goes to JSON.parse and
// never into a page's source.
func JSON(value any) []byte {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		panic(err) // it refuses functions, channels and numbers that are none
	}
	return bytes.TrimSuffix(text.Bytes(), []byte("\n"))
}

func prepare(kind int, payload []byte) *Message {
	prepared, err := websocket.NewPreparedMessage(kind, payload)
	if err != nil {
		panic(err) // it refuses unknown kinds and control frames that are too long: neither can be
	}
	return &Message{prepared: prepared, size: len(payload)}
}

// isSignal reports whether a text frame of a client is `init` or `pong`, without regard to case: a sign of life. The
// error is for what is not a JSON object.
func isSignal(text []byte) (bool, error) {
	var frame struct {
		Type any `json:"type"`
	}
	if err := json.Unmarshal(text, &frame); err != nil {
		return false, errors.New("client frame is not a JSON object")
	}
	name, _ := frame.Type.(string)
	return strings.EqualFold(name, "init") || strings.EqualFold(name, "pong"), nil
}
