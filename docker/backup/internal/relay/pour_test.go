package relay

import (
	"bytes"
	"errors"
	"io"
	"math/rand"
	"testing"
)

// pieces gives what it holds in pieces of those sizes, and with the last one the end.
type pieces struct {
	text  []byte
	sizes []int
}

func (p *pieces) Read(into []byte) (int, error) {
	size := min(len(into), len(p.text))
	if len(p.sizes) > 0 {
		size, p.sizes = min(size, p.sizes[0]), p.sizes[1:]
	}
	copy(into, p.text[:size])
	p.text = p.text[size:]
	if len(p.text) == 0 {
		return size, io.EOF
	}
	return size, nil
}

func TestWhatIsPouredArrivesWholeAndInOrderInWhateverPiecesItComes(t *testing.T) {
	random := rand.New(rand.NewSource(1))
	text := make([]byte, 3<<20)
	random.Read(text)
	source := &pieces{text: text}
	for _, size := range []int{1, 8191, 8192, 8193, pourPage / 2, pourPage, 0} {
		source.sizes = append(source.sizes, size, random.Intn(pourPage))
	}
	var got bytes.Buffer
	pour(&got, source)
	if !bytes.Equal(got.Bytes(), text) {
		t.Errorf("%d bytes instead of %d, or others", got.Len(), len(text))
	}
}

type full struct{ taken int }

func (f *full) Write(text []byte) (int, error) {
	f.taken += len(text)
	return 0, errors.New("nobody is there")
}

func TestPouringEndsWhenNobodyTakesIt(t *testing.T) {
	source, gone := &pieces{text: make([]byte, 1<<20), sizes: []int{10, 10}}, new(full)
	pour(gone, source)
	if gone.taken != 10 {
		t.Errorf("%d bytes went nowhere", gone.taken)
	}
}
