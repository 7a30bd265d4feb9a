// Package hook owns the message to whoever watches over the backups: one POST of a small JSON document after each
// success and each failure. It never fails what it tells of, and never writes its address into a log: such addresses
// are secrets.
package hook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"wepp.example/backup/internal/event"
)

// Message is what is posted.
type Message struct {
	Event    string    `json:"event"` // backup or drill
	OK       bool      `json:"ok"`
	Database string    `json:"database"`
	Name     string    `json:"name,omitempty"`
	Bytes    int64     `json:"bytes,omitempty"`
	Rows     int64     `json:"rows,omitempty"`
	Seconds  float64   `json:"seconds,omitempty"`
	Problem  string    `json:"problem,omitempty"`
	Time     time.Time `json:"time"`
}

// Hook posts to one address; the empty address is nobody.
type Hook struct {
	URL    string
	Report *event.Reporter
	Pauses []time.Duration // between tries
}

const patience = 10 * time.Second

// New makes the hook of an address.
func New(address string, report *event.Reporter) Hook {
	return Hook{URL: address, Report: report, Pauses: []time.Duration{time.Second, 5 * time.Second, 30 * time.Second}}
}

// Tell posts the message and tries again when nobody takes it; returns when it was taken, given up or ctx is over.
func (h Hook) Tell(ctx context.Context, message Message) {
	if h.URL == "" {
		return
	}
	for try := 0; ; try++ {
		err := h.post(ctx, message)
		if err == nil {
			return
		}
		if try == len(h.Pauses) || ctx.Err() != nil {
			h.Report.Note("BACKUP_HOOK_URL was not told: %s", err)
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(h.Pauses[try]):
		}
	}
}

func (h Hook) post(ctx context.Context, message Message) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	body, err := json.Marshal(message)
	if err != nil {
		return fmt.Errorf("encoding the message: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, h.URL, bytes.NewReader(body))
	if err != nil {
		return errors.New("it is not an address (http:// or https://)")
	}
	request.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return withoutAddress(err)
	}
	defer answer.Body.Close()                               //nolint:errcheck // nothing more is wanted of it
	io.Copy(io.Discard, io.LimitReader(answer.Body, 1<<16)) //nolint:errcheck // its words do not matter
	if answer.StatusCode >= 300 {
		return fmt.Errorf("it answered %d", answer.StatusCode)
	}
	return nil
}

// withoutAddress is the reason alone: the library's errors quote the address, which may hold a token.
func withoutAddress(err error) error {
	var inner *url.Error
	if errors.As(err, &inner) {
		return inner.Err
	}
	return err
}
