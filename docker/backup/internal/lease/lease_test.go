package lease

import (
	"bufio"
	"context"
	"io"
	"testing"
)

func TestWordsArriveInOrderAndTheEndOfTheInputCallsTheWorkOff(t *testing.T) {
	input, asker := io.Pipe()
	ctx, bond := Begin(context.Background(), bufio.NewReader(input))
	go func() {
		io.WriteString(asker, "go\nswap\n") //nolint:errcheck // a pipe in memory
		asker.Close()                       //nolint:errcheck,gosec // a pipe in memory
	}()
	for _, wanted := range []string{"go", "swap"} {
		if word, err := bond.Word(ctx); err != nil || word != wanted {
			t.Fatalf("wanted %q, got %q, %v", wanted, word, err)
		}
	}
	if word, err := bond.Word(ctx); err == nil {
		t.Fatalf("after the end came %q", word)
	}
	<-ctx.Done()
}
