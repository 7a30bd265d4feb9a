package live

import (
	"encoding/json"
	"testing"
	"unicode/utf8"
)

func TestClientFramesAreUnderstoodWithoutRegardToCase(t *testing.T) {
	cases := map[string]bool{
		`{"type":"init"}`: true, `{"type":"PONG"}`: true, ` {"type":"Pong","extra":[1,{}]} `: true,
		`{"type":"ping"}`: false, `{"type":7}`: false, `{"type":null}`: false, `{}`: false, `{"type":"pong "}`: false,
	}
	for text, want := range cases {
		if got, err := isSignal([]byte(text)); got != want || err != nil {
			t.Errorf("%s: got %v, %v", text, got, err)
		}
	}
}

func TestTextThatIsNoJSONObjectIsAnErrorAndNoSignal(t *testing.T) {
	for _, text := range []string{"", "pong", "[]", `"pong"`, `{"type":"pong"`, `{"type":"pong"}{}`, "\x00"} {
		if got, err := isSignal([]byte(text)); got || err == nil {
			t.Errorf("%q: got %v, %v", text, got, err)
		}
	}
}

func FuzzFrame(f *testing.F) {
	for _, seed := range []string{`{"type":"init"}`, `{"type":"PONG"}`, `{"type":7}`, "{", "\xff\x00", `<script>&"\u2028`, "[[[["} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		alive, err := isSignal(content)
		if err != nil && alive {
			t.Fatalf("a signal with error %v", err)
		}
		if err == nil && !json.Valid(content) {
			t.Fatalf("%q was accepted as JSON", content)
		}
		// The way out: whatever is sent is JSON of the same text.
		text := JSON(map[string]string{"data": string(content)})
		var back map[string]string
		if err := json.Unmarshal(text, &back); err != nil {
			t.Fatal(err)
		}
		if utf8.Valid(content) && back["data"] != string(content) {
			t.Fatalf("%q became %q", content, back["data"])
		}
	})
}
