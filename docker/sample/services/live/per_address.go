package live

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
)

// perAddress limits how many websockets one client address may have open.
type perAddress struct {
	limit   int // 0: none
	proxies int // how many in front of the service are trusted to name the client in X-Forwarded-For

	mu   sync.Mutex
	open map[netip.Prefix]int // websockets
}

// acquire counts one more websocket of the client that sent `r`, or reports that it has as many as it may. What was
// acquired is given back by the returned function.
func (p *perAddress) acquire(r *http.Request) (release func(), ok bool) {
	client := p.client(r)
	if p.limit <= 0 || !client.IsValid() {
		return func() {}, true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open[client] >= p.limit {
		return nil, false
	}
	p.open[client]++
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.open[client]--; p.open[client] == 0 {
			delete(p.open, client)
		}
	}, true
}

// client returns whom a request counts for: an address, or the /64 of IPv6 that a connection usually has for itself.
// Each proxy appends the address that it was asked from; what stands before these is the client's own claim.
func (p *perAddress) client(r *http.Request) netip.Prefix {
	text := ""
	if header := strings.Join(r.Header.Values("X-Forwarded-For"), ","); header != "" {
		entries := strings.Split(header, ",")
		text = strings.TrimSpace(entries[max(0, len(entries)-p.proxies)])
	}
	address, err := netip.ParseAddr(text)
	if err != nil {
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		address, _ = netip.ParseAddr(host)
	}
	address = address.Unmap().WithZone("")
	bits := 64
	if address.Is4() {
		bits = 32
	}
	prefix, _ := address.Prefix(bits)
	return prefix
}
