package door

import (
	"crypto/tls"
	"io"
	"time"
)

const (
	// serverPage is what a server sends at once while it sends rows (PQ_SEND_BUFFER_SIZE); an answer is mostly shorter.
	serverPage = 8 << 10
	// pourPage is more than a socket holds by itself.
	pourPage = 256 << 10
	// gatherPause is far shorter than anybody waits for rows, and enough for a socket to fill.
	gatherPause = 500 * time.Microsecond
)

// gather is replaced by tests.
var gather = time.Sleep

// pour passes on what a server sends until either side ends. Whoever takes rows page by page has the processor change
// hands for each, which costs more than the copying, here and wherever the pages arrive; so after a page it lets the next
// ones gather, as network cards do (interrupt moderation). What follows an answer that is no page waits for nothing. Nor does
// what is encrypted: that is read record by record, at most 16 KiB of it, however much has gathered.
func pour(to io.Writer, from io.Reader) {
	if _, encrypted := from.(*tls.Conn); encrypted {
		io.Copy(to, from) //nolint:errcheck // either side may end it
		return
	}
	page := make([]byte, pourPage)
	for {
		count, err := from.Read(page)
		if _, failed := to.Write(page[:count]); failed != nil || err != nil {
			return
		}
		if count >= serverPage && count < pourPage/2 {
			gather(gatherPause)
		}
	}
}
