// Package lease owns the bond with whoever asked for a command: words come over standard input, and an input that ends
// means that the asker is gone, even if it was killed. The work is then called off.
package lease

import (
	"bufio"
	"context"
	"strings"

	"wepp.example/backup/internal/event"
)

// Lease is the listening end.
type Lease struct {
	words chan string
}

// Begin listens to the input. The context it returns is cancelled when the input ends.
func Begin(ctx context.Context, input *bufio.Reader) (context.Context, *Lease) {
	ctx, cancel := context.WithCancelCause(ctx)
	bond := &Lease{words: make(chan string)}
	go func() {
		defer close(bond.words)
		for {
			line, err := input.ReadString('\n')
			if err != nil {
				cancel(event.Fail("run the command again", "whoever asked for this is gone; it was called off"))
				return
			}
			bond.words <- strings.TrimSpace(line)
		}
	}()
	return ctx, bond
}

// Word is the next word, or an error when there will be none.
func (l *Lease) Word(ctx context.Context) (string, error) {
	select {
	case word, open := <-l.words:
		if open {
			return word, nil
		}
	case <-ctx.Done():
	}
	if cause := context.Cause(ctx); cause != nil {
		return "", cause
	}
	return "", context.Canceled
}
