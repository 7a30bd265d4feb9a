package wire

import (
	"encoding/json"
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

func TestTheReasonOfACloseFrameIsCutToWhatOneCanCarry(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := (&websocket.Upgrader{}).Upgrade(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		if err := conn.WritePreparedMessage(Close(websocket.CloseGoingAway, strings.Repeat("r", 200)).Prepared); err != nil {
			t.Error(err)
		}
	}))
	defer server.Close()
	conn, _, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(server.URL, "http"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, _, err = conn.ReadMessage()
	closed, ok := err.(*websocket.CloseError)
	if !ok || closed.Code != websocket.CloseGoingAway || closed.Text != strings.Repeat("r", 123) {
		t.Fatalf("end %v", err)
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
		// The way out: whatever is relayed is JSON of the same text.
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
	})
}
