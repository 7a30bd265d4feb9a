package wire

import (
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gorilla/websocket"
)

func TestClientFramesAreUnderstoodWithoutRegardToCase(t *testing.T) {
	cases := map[string]Signal{
		`{"type":"init"}`: SignalInit, `{"type":"PONG"}`: SignalPong, ` {"type":"Pong","extra":[1,{}]} `: SignalPong,
		`{"type":"ping"}`: Unknown, `{"type":7}`: Unknown, `{"type":null}`: Unknown, `{}`: Unknown, `{"type":"pong "}`: Unknown,
	}
	for text, want := range cases {
		if got, err := ParseClient([]byte(text)); got != want || err != nil {
			t.Errorf("%s: got %v, %v", text, got, err)
		}
	}
}

func TestTextThatIsNoJSONObjectIsAnErrorAndNoSignal(t *testing.T) {
	for _, text := range []string{"", "pong", "[]", `"pong"`, `{"type":"pong"`, `{"type":"pong"}{}`, "\x00"} {
		if got, err := ParseClient([]byte(text)); got != Unknown || err == nil {
			t.Errorf("%q: got %v, %v", text, got, err)
		}
	}
}

// receive returns what a websocket client makes of raw bytes on the connection.
func receive(t *testing.T, frames ...Frame) *websocket.Conn {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := (&websocket.Upgrader{}).Upgrade(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		buffers := net.Buffers{}
		for _, frame := range frames {
			buffers = append(buffers, frame)
		}
		if _, err := buffers.WriteTo(conn.NetConn()); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(server.Close)
	conn, _, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(server.URL, "http"), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func TestFramesOfEverySizeArriveWholeAtAnIndependentImplementation(t *testing.T) {
	sizes := []int{0, 1, 125, 126, 127, 65535, 65536, 70000}
	var frames []Frame
	for _, size := range sizes {
		frames = append(frames, Text(bytes.Repeat([]byte("x"), size)))
	}
	conn := receive(t, frames...)
	for _, size := range sizes {
		kind, text, err := conn.ReadMessage()
		if err != nil || kind != websocket.TextMessage || len(text) != size {
			t.Fatalf("size %d: kind %d, %d bytes, %v", size, kind, len(text), err)
		}
	}
}

func TestPongAndCloseArriveWithTheirContent(t *testing.T) {
	conn := receive(t, Pong("data"), Close(websocket.CloseGoingAway, strings.Repeat("r", 200)))
	var pong string
	conn.SetPongHandler(func(data string) error {
		pong = data
		return nil
	})
	_, _, err := conn.ReadMessage()
	closed, ok := err.(*websocket.CloseError)
	if pong != "data" || !ok || closed.Code != websocket.CloseGoingAway || closed.Text != strings.Repeat("r", 123) {
		t.Fatalf("pong %q, end %v", pong, err)
	}
}

func TestAFrameWithoutACodeClosesWithoutOne(t *testing.T) {
	conn := receive(t, Close(NoStatus, "ignored"))
	if _, _, err := conn.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseNoStatusReceived) {
		t.Fatalf("got %v", err)
	}
}

func FuzzFrame(f *testing.F) {
	for _, seed := range []string{`{"type":"init"}`, `{"type":"PONG"}`, `{"type":7}`, "{", "\xff\x00", `<script>&"\u2028`, "[[[["} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		signal, err := ParseClient(content)
		if err != nil && signal != Unknown {
			t.Fatalf("signal %v with error %v", signal, err)
		}
		if err == nil && !json.Valid(content) {
			t.Fatalf("%q was accepted as JSON", content)
		}
		// The way out: whatever is relayed is JSON of the same text, within one well-formed frame.
		text, err := Marshal(map[string]string{"data": string(content)})
		if err != nil {
			t.Fatal(err)
		}
		var back map[string]string
		if err := json.Unmarshal(text, &back); err != nil {
			t.Fatal(err)
		}
		if utf8.Valid(content) && back["data"] != string(content) {
			t.Fatalf("%q became %q", content, back["data"])
		}
		frame := Text(text)
		if frame[0] != 0x81 || frame[1]&0x80 != 0 || !bytes.HasSuffix(frame, text) {
			t.Fatalf("frame %x", frame)
		}
	})
}
