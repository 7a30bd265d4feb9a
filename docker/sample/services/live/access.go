package live

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"
)

const (
	// How long one question may take, its wait for a free connection included.
	accessTimeout = 5 * time.Second
	// Questions at a time: when thousands of pages come back at once, the service that answers still has its files to serve.
	accessConnections = 16
	// How long a websocket may outlive the right to read its run, as after a log-out.
	accessInterval = time.Minute
)

// Errors of access.check.
var (
	// errNoRun is the one answer for a run that the visitor may not read and for a run that does not exist.
	errNoRun = errors.New("run not found")
	// errAccessUnknown: the service that decides did not answer.
	errAccessUnknown = errors.New("access to the run cannot be checked at the moment")
)

// access asks the file service whether a visitor may read a run, so that the rule is written once.
type access struct {
	base     string        // the run's id is appended; empty: every run is open
	interval time.Duration // between two questions about an open websocket
	client   *http.Client
}

func newAccess(base string) access {
	transport := &http.Transport{
		MaxConnsPerHost: accessConnections, MaxIdleConnsPerHost: accessConnections, IdleConnTimeout: time.Minute,
	}
	return access{base: base, interval: accessInterval, client: &http.Client{Transport: transport, Timeout: accessTimeout}}
}

// check returns nil when the visitor who sent `header` may read the run, else errNoRun or errAccessUnknown.
func (a access) check(ctx context.Context, header http.Header, run string) error {
	if a.base == "" {
		return nil
	}
	question, err := http.NewRequestWithContext(ctx, http.MethodGet, a.base+"/"+url.PathEscape(run), nil)
	if err != nil {
		return errAccessUnknown
	}
	for _, name := range []string{"Cookie", "Authorization"} {
		question.Header[name] = header[name]
	}
	reply, err := a.client.Do(question)
	if err != nil {
		return errAccessUnknown
	}
	_ = reply.Body.Close()
	switch reply.StatusCode {
	case http.StatusNoContent:
		return nil
	case http.StatusNotFound:
		return errNoRun
	default:
		return errAccessUnknown
	}
}

// repeat checks again at every interval until `ctx` ends, and calls `refused` once the visitor may not read the run. One
// who sent neither cookie nor token reads a public run: nothing of theirs can end.
func (a access) repeat(ctx context.Context, header http.Header, run string, refused func()) {
	if a.base == "" || header.Get("Cookie")+header.Get("Authorization") == "" {
		return
	}
	time.AfterFunc(a.interval, func() {
		if errors.Is(a.check(ctx, header, run), errNoRun) {
			refused()
		} else if ctx.Err() == nil {
			a.repeat(ctx, header, run, refused)
		}
	})
}
