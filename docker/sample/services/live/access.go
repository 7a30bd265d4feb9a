package live

import (
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
	base   string // the run's id is appended; empty: every run is open
	client *http.Client
}

func newAccess(base string) access {
	transport := &http.Transport{
		MaxConnsPerHost: accessConnections, MaxIdleConnsPerHost: accessConnections, IdleConnTimeout: time.Minute,
	}
	return access{base: base, client: &http.Client{Transport: transport, Timeout: accessTimeout}}
}

// check returns nil when the visitor who sent `r` may read the run, else errNoRun or errAccessUnknown.
func (a access) check(r *http.Request, run string) error {
	if a.base == "" {
		return nil
	}
	question, err := http.NewRequestWithContext(r.Context(), http.MethodGet, a.base+"/"+url.PathEscape(run), nil)
	if err != nil {
		return errAccessUnknown
	}
	for _, name := range []string{"Cookie", "Authorization"} {
		question.Header[name] = r.Header[name]
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
