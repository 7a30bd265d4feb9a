package main

import (
	"bytes"
	"encoding/json"
	"testing"
)

func TestAPayloadIsRelayedVerbatim(t *testing.T) {
	for payload, want := range map[string]string{
		"plain":                 `{"type":"status","data":"plain"}`,
		"":                      `{"type":"status","data":""}`,
		`a "quote" & <tag>`:     `{"type":"status","data":"a \"quote\" & <tag>"}`,
		"line\nend \x00 \u2028": `{"type":"status","data":"line\nend \u0000 \u2028"}`,
		"not UTF-8: \xff":       `{"type":"status","data":"not UTF-8: \ufffd"}`,
	} {
		// Which of the two spellings of JSON stands for what is no UTF-8 is up to the release of Go.
		text := bytes.ReplaceAll(frame(payload), []byte("\ufffd"), []byte(`\ufffd`))
		if string(text) != want || !json.Valid(text) {
			t.Errorf("%q: got %s, want %s", payload, text, want)
		}
	}
}

func TestNamesAreARunAndAChannel(t *testing.T) {
	pattern := definition.Pattern
	for name, want := range map[string]bool{
		"run:wepp": true, "batch;;a.b;;c-d_1:rq": true, "run": false, "run:": false, ":wepp": false, "a:b:c": false,
		"run:we;pp": false, "r*n:wepp": false, "run:wepp\n": false, "rün:wepp": false,
	} {
		if got := pattern.MatchString(name); got != want {
			t.Errorf("%q: got %v", name, got)
		}
	}
}
