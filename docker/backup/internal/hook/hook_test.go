package hook

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"wepp.example/backup/internal/event"
)

const token = "s3cr3t-token"

func hook(address string, log *bytes.Buffer) Hook {
	return Hook{URL: address, Report: event.New(log, false, time.Now), Pauses: []time.Duration{time.Millisecond, time.Millisecond}}
}

func TestTheMessageIsPostedAsJSONAndTriedAgainUntilItIsTaken(t *testing.T) {
	var tries atomic.Int32
	got := make(chan Message, 1)
	server := httptest.NewServer(http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		if tries.Add(1) < 3 {
			writer.WriteHeader(http.StatusBadGateway)
			return
		}
		var message Message
		if err := json.NewDecoder(request.Body).Decode(&message); err != nil || request.Method != http.MethodPost {
			t.Error(request.Method, err)
		}
		got <- message
	}))
	defer server.Close()
	var log bytes.Buffer
	hook(server.URL+"/"+token, &log).Tell(context.Background(), Message{Event: "backup", OK: true, Rows: 7})
	if message := <-got; message.Rows != 7 || !message.OK || log.Len() > 0 {
		t.Fatalf("%+v %s", message, log.String())
	}
}

func TestAnAddressThatNobodyAnswersAtIsGivenUpWithoutBeingTold(t *testing.T) {
	gone := httptest.NewServer(nil)
	gone.Close()
	refusing := httptest.NewServer(http.NotFoundHandler())
	defer refusing.Close()
	for _, address := range []string{gone.URL + "/" + token, refusing.URL + "/" + token, "no address " + token, "http://" + token + ".invalid/"} {
		var log bytes.Buffer
		hook(address, &log).Tell(context.Background(), Message{})
		if !strings.Contains(log.String(), "BACKUP_HOOK_URL was not told") || strings.Contains(log.String(), "/"+token) || strings.Contains(log.String(), "address "+token) {
			t.Errorf("%s", log.String())
		}
	}
}

func TestASlowWatcherHoldsNobodyLongerThanHeMayWait(t *testing.T) {
	ended := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-ended }))
	defer server.Close()
	defer close(ended)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	var log bytes.Buffer
	begun := time.Now()
	hook(server.URL, &log).Tell(ctx, Message{})
	if time.Since(begun) > 5*time.Second {
		t.Fatal("it waited for the watcher")
	}
}

func TestNoAddressIsNobody(t *testing.T) {
	var log bytes.Buffer
	hook("", &log).Tell(context.Background(), Message{})
	if log.Len() > 0 {
		t.Fatal(log.String())
	}
}
