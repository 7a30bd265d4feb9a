package live

import (
	"bufio"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

func handler(t *testing.T, confirmed bool, origins []string, check func(context.Context) error) *server {
	t.Helper()
	settings := Settings{
		PingInterval: time.Hour, PongTimeout: time.Hour, WriteTimeout: time.Second, MaxMessageSize: 100,
		RequestTimeout: 10 * time.Millisecond, Proxies: 1, MetricsEnabled: true,
	}
	if err := settings.setOrigins(strings.Join(origins, ",")); err != nil {
		t.Fatal(err)
	}
	same := func(_ int, name string) string { return name }
	hub := emptyHub(Definition{Pattern: regexp.MustCompile(`^[a-z;]+$`), Invalid: "invalid name", Channel: same, Serve: forward}, settings)
	if confirmed {
		confirmAll(t, hub)
	}
	registry := prometheus.NewRegistry()
	things := prometheus.NewCounter(prometheus.CounterOpts{Name: "test_things_total", Help: "Things."})
	registry.MustRegister(things)
	things.Add(3)
	h := newServer(hub, promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	h.check = check
	return h
}

func healthy(context.Context) error { return nil }

func ask(h http.Handler, method, target string, headers ...string) *httptest.ResponseRecorder {
	request := httptest.NewRequest(method, target, nil)
	for index := 0; index < len(headers); index += 2 {
		request.Header.Set(headers[index], headers[index+1])
	}
	reply := httptest.NewRecorder()
	h.ServeHTTP(reply, request)
	return reply
}

var upgrade = []string{"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="}

func TestPlainRequestsGetTheAnswerOfTheContract(t *testing.T) {
	h := handler(t, true, nil, healthy)
	cases := []struct {
		method, target string
		code           int
		body           string
	}{
		{"GET", "/health", 200, "OK"},
		{"GET", "/", 404, "404 page not found"},
		{"POST", "/health", 405, "method not allowed"},
		{"HEAD", "/run", 405, "method not allowed"},
		{"GET", "/Run", 400, "invalid name"},
		{"GET", "/a/b", 400, "invalid name"},
		{"GET", "/a%2Fb", 400, "invalid name"},
		{"GET", "/a%0A", 400, "invalid name"},
		{"GET", "/a%00", 400, "invalid name"},
		{"GET", "//", 400, "invalid name"},
		{"GET", "/run", 426, "websocket upgrade required"},
		{"GET", "/run/", 426, "websocket upgrade required"},
		{"GET", "/batch;;x", 426, "websocket upgrade required"},
	}
	for _, c := range cases {
		reply := ask(h, c.method, c.target)
		if reply.Code != c.code || strings.TrimSpace(reply.Body.String()) != c.body {
			t.Errorf("%s %s: %d %q, want %d %q", c.method, c.target, reply.Code, reply.Body, c.code, c.body)
		}
	}
}

func TestMetricsAreShownOnlyWhenSwitchedOn(t *testing.T) {
	h := handler(t, true, nil, healthy)
	reply := ask(h, "GET", "/metrics")
	if reply.Code != 200 || reply.Body.String() != "# HELP test_things_total Things.\n# TYPE test_things_total counter\ntest_things_total 3\n" {
		t.Fatalf("%d %s", reply.Code, reply.Body)
	}
	h.Settings.MetricsEnabled = false
	if reply := ask(h, "GET", "/metrics"); reply.Code != 404 {
		t.Fatalf("%d", reply.Code)
	}
}

func TestHealthTellsTheReasonAndRecovers(t *testing.T) {
	problem := errors.New("connection refused")
	h := handler(t, true, nil, func(context.Context) error { return problem })
	if reply := ask(h, "GET", "/health"); reply.Code != 503 || reply.Body.String() != "redis: connection refused\n" {
		t.Fatalf("%d %s", reply.Code, reply.Body)
	}
	problem = nil
	if reply := ask(h, "GET", "/health"); reply.Code != 200 || reply.Body.String() != "OK" {
		t.Fatalf("%d %s", reply.Code, reply.Body)
	}
	h.stopped.Store(true)
	if reply := ask(h, "GET", "/health"); reply.Code != 503 || reply.Body.String() != "shutting down\n" {
		t.Fatalf("%d %s", reply.Code, reply.Body)
	}
}

func TestWithoutASubscriptionTheHandshakeIsRefused(t *testing.T) {
	reply := ask(handler(t, false, nil, healthy), "GET", "/run", upgrade...)
	if reply.Code != 503 || reply.Header().Get("Retry-After") != "1" {
		t.Fatalf("%d %v", reply.Code, reply.Header())
	}
}

func TestAForeignOriginIsRefusedBeforeAnythingElseHappens(t *testing.T) {
	h := handler(t, false, []string{"wepp.example"}, healthy)
	if reply := ask(h, "GET", "/run", append(upgrade, "Origin", "https://evil.example")...); reply.Code != 403 {
		t.Fatalf("%d", reply.Code)
	}
	if reply := ask(h, "GET", "/run", append(upgrade, "Origin", "https://wepp.example")...); reply.Code != 503 {
		t.Fatalf("%d", reply.Code) // allowed, and so it comes as far as Redis
	}
}

// fileService answers as the file service does: "mine" needs a cookie or a token, "public" is open.
func fileService(t *testing.T) string {
	t.Helper()
	rule := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		shown := r.Header.Get("Cookie") == "wepp_browse_jwt=x" || r.Header.Get("Authorization") == "Bearer x"
		switch {
		case r.URL.Path == "/access/public", r.URL.EscapedPath() == "/access/mine" && shown:
			w.WriteHeader(http.StatusNoContent)
		case r.URL.Path == "/access/broken":
			w.WriteHeader(http.StatusInternalServerError)
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(rule.Close)
	return rule.URL + "/access"
}

func TestARunThatTheVisitorMayNotReadIsAnsweredLikeOneThatDoesNotExist(t *testing.T) {
	h := handler(t, false, nil, healthy)
	h.access = newAccess(fileService(t))
	private, absent := ask(h, "GET", "/mine", upgrade...), ask(h, "GET", "/absent", upgrade...)
	for _, reply := range []*httptest.ResponseRecorder{private, absent} {
		if reply.Code != 404 || reply.Body.String() != "run not found\n" {
			t.Fatalf("%d %s", reply.Code, reply.Body)
		}
	}
	// A request that is let in comes as far as Redis.
	for _, headers := range [][]string{{"Cookie", "wepp_browse_jwt=x"}, {"Authorization", "Bearer x"}} {
		if reply := ask(h, "GET", "/mine", append(upgrade, headers...)...); reply.Code != 503 || h.clientCount() != 0 {
			t.Fatalf("%v: %d %s", headers, reply.Code, reply.Body)
		}
	}
	if reply := ask(h, "GET", "/public", upgrade...); !strings.Contains(reply.Body.String(), errNotReady.Error()) {
		t.Fatalf("%d %s", reply.Code, reply.Body)
	}
}

func TestNoWebsocketOpensWhileAccessCannotBeChecked(t *testing.T) {
	h := handler(t, true, nil, healthy)
	for _, base := range []string{fileService(t), "http://127.0.0.1:1/access"} {
		h.access = newAccess(base)
		reply := ask(h, "GET", "/broken", upgrade...)
		if reply.Code != 503 || reply.Header().Get("Retry-After") != "1" || !strings.HasPrefix(reply.Body.String(), "access to the run") {
			t.Fatalf("%d %s", reply.Code, reply.Body)
		}
	}
}

func TestAWebsocketEndsOnceItsVisitorMayNotReadTheRunAnyMore(t *testing.T) {
	answers := make(chan int, 4)
	for _, code := range []int{204, 204, 503, 404} { // of the handshake first; while it is not known, nothing ends
		answers <- code
	}
	rule := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/mine" || r.Header.Get("Cookie") != "wepp_browse_jwt=x" {
			t.Errorf("asked for %s with %v", r.URL.Path, r.Header)
		}
		w.WriteHeader(<-answers)
	}))
	defer rule.Close()
	h := handler(t, true, nil, healthy)
	h.access = newAccess(rule.URL)
	h.access.interval = time.Millisecond
	site := httptest.NewServer(h)
	defer site.Close()
	conn, _, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(site.URL, "http")+"/mine", http.Header{"Cookie": {"wepp_browse_jwt=x"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetReadDeadline(time.Now().Add(timeout))
	if _, text, err := conn.ReadMessage(); err != nil || string(text) != `{"type":"hangup"}` {
		t.Fatalf("%s %v", text, err)
	}
	if _, _, err := conn.ReadMessage(); !websocket.IsCloseError(err, websocket.ClosePolicyViolation) {
		t.Fatal(err)
	}
	if len(answers) != 0 {
		t.Fatalf("ended %d answers too early", len(answers))
	}
}

func TestOneAddressMayOpenSoManyWebsockets(t *testing.T) {
	h := handler(t, true, nil, healthy)
	h.perAddress.limit = 2
	site := httptest.NewServer(h)
	defer site.Close()
	dial := func(forwarded string) (*websocket.Conn, int) {
		t.Helper()
		conn, reply, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(site.URL, "http")+"/run", http.Header{"X-Forwarded-For": {forwarded}})
		if reply == nil {
			t.Fatal(err)
		}
		if conn != nil {
			t.Cleanup(func() { _ = conn.Close() })
		}
		return conn, reply.StatusCode
	}
	first, _ := dial("203.0.113.9")
	dial("203.0.113.9")
	if _, code := dial("198.51.100.1, 203.0.113.9"); code != 429 { // whatever the client itself claims
		t.Fatalf("%d", code)
	}
	if _, code := dial("203.0.113.10"); code != 101 {
		t.Fatalf("another address: %d", code)
	}
	_ = first.Close()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		if _, code := dial("203.0.113.9"); code == 101 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("a closed websocket still counts")
		}
	}
}

func TestARefusedHandshakeDoesNotCount(t *testing.T) {
	h := handler(t, false, nil, healthy)
	h.perAddress.limit = 1
	for range 3 {
		if reply := ask(h, "GET", "/run", upgrade...); reply.Code != 503 {
			t.Fatalf("%d", reply.Code)
		}
	}
}

func TestAClientIsCountedByWhatTrustedProxiesSay(t *testing.T) {
	cases := []struct {
		proxies         int
		forwarded, want string
	}{
		{1, "", "192.0.2.1/32"}, // httptest's address of the connection
		{1, "203.0.113.9", "203.0.113.9/32"},
		{1, "198.51.100.1, 203.0.113.9", "203.0.113.9/32"},
		{2, "198.51.100.1, 203.0.113.9, 10.0.0.1", "203.0.113.9/32"},
		{2, "203.0.113.9", "203.0.113.9/32"},
		{1, "::ffff:203.0.113.9", "203.0.113.9/32"},
		{1, "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"},
		{1, "unknown", "192.0.2.1/32"},
	}
	for _, c := range cases {
		request := httptest.NewRequest("GET", "/run", nil)
		if c.forwarded != "" {
			request.Header.Set("X-Forwarded-For", c.forwarded)
		}
		if got := (&perAddress{proxies: c.proxies}).client(request); got.String() != c.want {
			t.Errorf("%d, %q: got %s", c.proxies, c.forwarded, got)
		}
	}
}

func TestAnUnfinishedHandshakeLeavesNoClientBehind(t *testing.T) {
	h := handler(t, true, nil, healthy)
	if reply := ask(h, "GET", "/run", "Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "12"); reply.Code != 400 {
		t.Fatalf("%d", reply.Code)
	}
	if h.clientCount() != 0 || len(h.topics) != 0 {
		t.Fatalf("clients %d, topics %d", h.clientCount(), len(h.topics))
	}
}

func TestOriginsAreComparedByHostOrAsAWhole(t *testing.T) {
	cases := []struct {
		patterns []string
		origin   string
		allowed  bool
	}{
		{nil, "https://anything.example", false},
		{nil, "https://this.host", true},
		{nil, "https://this.host:8443", false},
		{[]string{"*"}, "https://anything.example:8443", true},
		{[]string{"a.example"}, "", true}, // no browser
		{[]string{"a.example"}, "https://a.example", true},
		{[]string{"a.example"}, "https://A.Example", true},
		{[]string{"a.example"}, "https://a.example:8443", false},
		{[]string{"a.example:*"}, "https://a.example:8443", true},
		{[]string{"a.example"}, "https://a.example.evil.example", false},
		{[]string{"*.example.org"}, "https://x.example.org", true},
		{[]string{"*.example.org"}, "https://example.org", false},
		{[]string{"https://a.example/"}, "https://a.example", true},
		{[]string{"https://a.example"}, "http://a.example", false},
		{[]string{"https://*.a.example"}, "https://x.a.example", true},
		{[]string{"a.example"}, "null", false},
		{[]string{"a.example"}, "http://[::bad", false},
		{[]string{"b.example", "a.example"}, "http://a.example", true},
		{[]string{"a.example"}, "http://this.host", true}, // the page's own host
	}
	for _, c := range cases {
		h := handler(t, false, c.patterns, healthy)
		request := httptest.NewRequest("GET", "http://this.host/run", nil)
		if c.origin != "" {
			request.Header.Set("Origin", c.origin)
		}
		if got := h.isAllowed(request); got != c.allowed {
			t.Errorf("%v, %q: got %v", c.patterns, c.origin, got)
		}
	}
}

func FuzzRequest(f *testing.F) {
	for _, seed := range []string{"/health", "/run", "/run/", "/a;;b", "/a%2Fb", "/%00", "//", "*", "http://x/run", "/run?x=1#y", "/\xff"} {
		f.Add("GET", seed, "https://a.example", "websocket")
	}
	f.Add("POST", "/run", "null", "")
	f.Fuzz(func(t *testing.T, method, target, origin, protocol string) {
		line := method + " " + target + " HTTP/1.1\r\nHost: this.host\r\n\r\n"
		request, err := http.ReadRequest(bufio.NewReader(strings.NewReader(line)))
		if err != nil {
			t.Skip() // net/http answers these itself
		}
		request.Header.Set("Origin", origin)
		request.Header.Set("Connection", "Upgrade")
		request.Header.Set("Upgrade", protocol)
		h := handler(t, true, []string{"a.example", "*.b.example"}, healthy)
		reply := httptest.NewRecorder()
		h.ServeHTTP(reply, request)
		switch reply.Code {
		case 200, 400, 403, 404, 405, 426:
		default:
			t.Fatalf("%q %q: %d %s", method, target, reply.Code, reply.Body)
		}
		if h.clientCount() != 0 {
			t.Fatalf("%q left a client behind", target)
		}
	})
}
