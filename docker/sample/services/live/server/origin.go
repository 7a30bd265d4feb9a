package server

import (
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync"
)

var bufferPool sync.Pool

// Origins is the list of origins whose pages may connect, beside those of the very host that they connect to.
type Origins struct{ patterns []string }

// ParseOrigins checks the patterns. A pattern is a host ("wepp.example", "*.wepp.example", "localhost:*") or, with a
// scheme, a whole origin ("https://wepp.example"); `*` stands for any run of characters. The error names a bad one.
func ParseOrigins(patterns []string) (Origins, error) {
	checked := make([]string, 0, len(patterns))
	for _, pattern := range patterns {
		pattern = strings.ToLower(strings.TrimSuffix(pattern, "/"))
		if _, err := path.Match(strings.ReplaceAll(pattern, "/", "|"), ""); err != nil {
			return Origins{}, fmt.Errorf("origin pattern %q: %w", pattern, err)
		}
		checked = append(checked, pattern)
	}
	return Origins{patterns: checked}, nil
}

// Allow reports whether a request may open a websocket. Only browsers send Origin, and only in them can a foreign page
// act for a visitor, so a request without it passes; so does a page from this very host (RFC 6455 section 10.2).
func (o Origins) Allow(r *http.Request) bool {
	header := r.Header.Get("Origin")
	if header == "" {
		return true
	}
	origin, err := url.Parse(strings.ToLower(header))
	if err != nil || origin.Host == "" {
		return false // among them "null", the origin of sandboxed pages and local files
	}
	if origin.Host == strings.ToLower(r.Host) {
		return true
	}
	whole := origin.Scheme + "://" + origin.Host
	for _, pattern := range o.patterns {
		subject := origin.Host
		if strings.Contains(pattern, "://") {
			subject = whole
		}
		// path.Match lets `*` stop at a slash; the scheme's slashes are the only ones here.
		if ok, _ := path.Match(strings.ReplaceAll(pattern, "/", "|"), strings.ReplaceAll(subject, "/", "|")); ok {
			return true
		}
	}
	return false
}
