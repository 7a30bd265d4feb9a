package load

import (
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

func TestClientsReceiveEveryFrameAnswerPingsAndAreCountedWhenLost(t *testing.T) {
	var pongs, accepted atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := (&websocket.Upgrader{}).Upgrade(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		for _, text := range []string{"one", ping, "two"} {
			if err := conn.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
				t.Error(err)
			}
		}
		if _, text, err := conn.ReadMessage(); err == nil && string(text) == string(pong) {
			pongs.Add(1)
		}
		if accepted.Add(1) == 1 {
			_ = conn.Close() // the first client is lost, the others stay
		}
	}))
	defer server.Close()
	received := make([][]string, 5)
	opened, err := Open("ws"+strings.TrimPrefix(server.URL, "http"), len(received), func(client int, text []byte) {
		received[client] = append(received[client], string(text))
	})
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); accepted.Load() < 5 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if lost := opened.Close(200 * time.Millisecond); lost != 1 {
		t.Errorf("lost %d", lost)
	}
	for client, texts := range received {
		if strings.Join(texts, " ") != "one two" {
			t.Errorf("client %d received %q", client, texts)
		}
	}
	if pongs.Load() != 5 {
		t.Errorf("%d pongs", pongs.Load())
	}
}

func TestPartsOfDelaysAreTakenInOrder(t *testing.T) {
	delays := []time.Duration{3 * time.Millisecond, time.Millisecond, 2 * time.Millisecond}
	if got := Milliseconds(delays, 0, 0.5, 1); got[0] != 1 || got[1] != 2 || got[2] != 3 {
		t.Errorf("got %v", got)
	}
	if got := Milliseconds(nil, 0.5); got[0] != 0 {
		t.Errorf("got %v", got)
	}
}

func TestTheCostOfAProcessIsRead(t *testing.T) {
	process, err := Watch(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for began := time.Now(); time.Since(began) < 100*time.Millisecond; { // busy on purpose
	}
	cores, megabytes, err := process.Cost()
	if err != nil || cores <= 0 || megabytes < 1 {
		t.Fatalf("%v cores, %v MB, %v", cores, megabytes, err)
	}
	if _, err := Watch(-1); err == nil {
		t.Error("a process that does not exist was watched")
	}
}
