package door

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	cryptorand "crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"math/rand"
	"net"
	"testing"
	"time"
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

func TestEncryptedPagesWaitForNothingForTheyDoNotGather(t *testing.T) {
	defer func(before func(time.Duration)) { gather = before }(gather)
	pauses := 0
	gather = func(time.Duration) { pauses++ }
	key, err := ecdsa.GenerateKey(elliptic.P256(), cryptorand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	about := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	certificate, err := x509.CreateCertificate(cryptorand.Reader, about, about, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	near, far := net.Pipe()
	server := tls.Server(far, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{certificate}, PrivateKey: key}}})
	client := tls.Client(near, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // both ends are here
	text := make([]byte, 1<<20)
	rand.New(rand.NewSource(1)).Read(text)
	go func() {
		defer server.Close() //nolint:errcheck // all is sent
		for rest := text; len(rest) > 0; rest = rest[serverPage:] {
			if _, err := server.Write(rest[:serverPage]); err != nil {
				return
			}
		}
	}()
	var got bytes.Buffer
	pour(&got, client)
	if !bytes.Equal(got.Bytes(), text) || pauses > 0 {
		t.Errorf("%d of %d bytes, or others, with %d pauses", got.Len(), len(text), pauses)
	}
}
