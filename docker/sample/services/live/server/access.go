package server

import (
	"context"
	"errors"
	"fmt"
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

// Errors of Access.Check.
var (
	// ErrNoRun is the one answer for a run that the visitor may not read and for a run that does not exist.
	ErrNoRun = errors.New("run not found")
	// ErrAccessUnknown: the service that decides did not answer.
	ErrAccessUnknown = errors.New("access to the run cannot be checked at the moment")
)

// Access asks the file service whether a visitor may read a run, so that the rule is written once. With the zero value
// every run is open.
type Access struct {
	base   string // the run's id is appended
	client *http.Client
}

// NewAccess returns the Access that asks at `base`/<run id>; the error says why `base` is not an address. Empty: every
// run is open.
func NewAccess(base string) (Access, error) {
	if base == "" {
		return Access{}, nil
	}
	address, err := url.Parse(base)
	if err != nil || address.Scheme != "http" || address.Host == "" {
		return Access{}, fmt.Errorf("%q is not an address such as http://browse:9009/access", base)
	}
	transport := &http.Transport{
		MaxConnsPerHost: accessConnections, MaxIdleConnsPerHost: accessConnections, IdleConnTimeout: time.Minute,
	}
	return Access{base: base, client: &http.Client{Transport: transport, Timeout: accessTimeout}}, nil
}

// Check returns nil when the visitor who sent `r` may read the run, else ErrNoRun or ErrAccessUnknown.
func (a Access) Check(ctx context.Context, r *http.Request, run string) error {
	if a.client == nil {
		return nil
	}
	question, err := http.NewRequestWithContext(ctx, http.MethodGet, a.base+"/"+url.PathEscape(run), nil)
	if err != nil {
		return ErrAccessUnknown
	}
	for _, name := range []string{"Cookie", "Authorization"} {
		question.Header[name] = r.Header[name]
	}
	reply, err := a.client.Do(question)
	if err != nil {
		return ErrAccessUnknown
	}
	_ = reply.Body.Close()
	switch reply.StatusCode {
	case http.StatusNoContent:
		return nil
	case http.StatusNotFound:
		return ErrNoRun
	default:
		return ErrAccessUnknown
	}
}
