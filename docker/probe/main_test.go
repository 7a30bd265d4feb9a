package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func serve(t *testing.T, status int, header, body string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/elsewhere" {
			return // a redirect that is followed would find a healthy 200 here
		}
		if header != "" {
			w.Header().Set("Location", header)
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestExitCodeAndOutputFollowTheAnswer(t *testing.T) {
	long := strings.Repeat("x", 5000)
	cases := map[string]struct {
		status         int
		location, body string
		code           int
		output         string
	}{
		"200 is well":                   {status: 200, body: "anything", code: 0},
		"503 with its reason":           {status: 503, body: "redis: gone", code: 1, output: "503 Service Unavailable: redis: gone\n"},
		"a redirect is not followed":    {status: 302, location: "/elsewhere", code: 1, output: "302 Found: \n"},
		"201 is not 200":                {status: 201, code: 1, output: "201 Created: \n"},
		"only the beginning of a body":  {status: 500, body: long, code: 1, output: "500 Internal Server Error: " + long[:200] + "\n"},
		"control characters are spaces": {status: 500, body: "a\x1b[31mb", code: 1, output: "500 Internal Server Error: a [31mb\n"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var output strings.Builder
			code := run([]string{serve(t, c.status, c.location, c.body)}, &output, time.Minute)
			if code != c.code || output.String() != c.output {
				t.Fatalf("got %d %q, want %d %q", code, output.String(), c.code, c.output)
			}
		})
	}
}

func TestAServerThatDoesNotAnswerIsAFailure(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer server.Close()
	defer close(release)
	var output strings.Builder
	if code := run([]string{server.URL}, &output, 20*time.Millisecond); code != 1 || output.String() != "no answer within 20ms\n" {
		t.Fatalf("got %d %q", code, output.String())
	}
}

func TestAClosedPortIsAFailure(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	var output strings.Builder
	if code := run([]string{server.URL}, &output, time.Minute); code != 1 || !strings.Contains(output.String(), "refused") {
		t.Fatalf("got %d %q", code, output.String())
	}
}

func TestWrongUsageIsToldApart(t *testing.T) {
	for _, arguments := range [][]string{{}, {"http://a/", "http://b/"}} {
		var output strings.Builder
		if code := run(arguments, &output, time.Minute); code != 2 || !strings.Contains(output.String(), "usage: probe") {
			t.Fatalf("%q: got %d %q", arguments, code, output.String())
		}
	}
}

func TestAProxyOfTheEnvironmentIsNotUsed(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	t.Setenv("http_proxy", "http://127.0.0.1:1")
	var output strings.Builder
	if code := run([]string{serve(t, 200, "", "OK")}, &output, time.Minute); code != 0 {
		t.Fatalf("got %d %q", code, output.String())
	}
}
