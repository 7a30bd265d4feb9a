// Package wire owns the JSON frames that browsers and services exchange, and the bytes they become on a connection.
package wire

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"strings"
)

// Frame is one whole websocket frame as it goes over the connection. A server's frames are not masked, so the same
// bytes serve any number of connections (RFC 6455 section 5.1); nobody may change them.
type Frame []byte

// The frame kinds that a server sends (RFC 6455 section 5.2).
const (
	opText  = 0x1
	opClose = 0x8
	opPong  = 0xA
)

// Ping and Hangup are the two frames that carry no data.
var (
	Ping   = must(Encode(plain{Type: "ping"}))
	Hangup = must(Encode(plain{Type: "hangup"}))
)

type plain struct {
	Type string `json:"type"`
}

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

// Encode turns `value` into a text frame, or returns the error of encoding/json.
func Encode(value any) (Frame, error) {
	text, err := Marshal(value)
	if err != nil {
		return nil, err
	}
	return Text(text), nil
}

// Text frames JSON text that is already encoded.
func Text(text []byte) Frame { return frame(opText, text) }

// Pong frames the answer to a protocol ping, which repeats its data.
func Pong(data string) Frame { return frame(opPong, []byte(data)) }

// NoStatus stands for a close frame without a code; the number itself must not be sent (RFC 6455 section 7.4.1).
const NoStatus = 1005

// Close frames a close code and a reason; the reason is cut to the 123 bytes that a control frame can carry.
func Close(code int, reason string) Frame {
	if code == NoStatus {
		return frame(opClose, nil)
	}
	payload := binary.BigEndian.AppendUint16(nil, uint16(code))
	return frame(opClose, append(payload, reason[:min(len(reason), 123)]...))
}

// frame puts the header of an unfragmented, unmasked frame before the payload (RFC 6455 section 5.2).
func frame(kind byte, payload []byte) Frame {
	const final = 0x80
	result := make(Frame, 0, len(payload)+10)
	result = append(result, final|kind)
	switch size := len(payload); {
	case size <= 125:
		result = append(result, byte(size))
	case size <= math.MaxUint16:
		result = binary.BigEndian.AppendUint16(append(result, 126), uint16(size))
	default:
		result = binary.BigEndian.AppendUint64(append(result, 127), uint64(size))
	}
	return append(result, payload...)
}

func must(frame Frame, err error) Frame {
	if err != nil {
		panic(err) // constant input: a failure is a defect of this file
	}
	return frame
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
