package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"wepp.example/backup/internal/event"
)

func TestATarIsReadToTheEndOfEachMemberAndOfItself(t *testing.T) {
	var packed bytes.Buffer
	writer := tar.NewWriter(&packed)
	for name, text := range map[string]string{"toc.dat": strings.Repeat("t", 700), "1.dat": "1\tone\n", "restore.sql": strings.Repeat("s", 512)} {
		if err := writer.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(text)), Format: tar.FormatUSTAR}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(writer, text); err != nil {
			t.Fatal(err)
		}
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	whole := packed.String()
	read := func(content string) error {
		t.Helper()
		path := write(t, "a.tar", content)
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		return readTar(ctx, Archive{Path: path, Kind: Tar, Bytes: int64(len(content))}, event.New(io.Discard, false, time.Now))
	}
	if err := read(whole); err != nil {
		t.Fatal(err)
	}
	for length := 1; length < len(whole); length += 13 {
		refused(t, read(whole[:length]), "damaged")
	}
	refused(t, read(whole[:len(whole)-512]), "does not end")
	refused(t, read(whole+"rubbish"), "does not end")
	spoilt := []byte(whole)
	spoilt[0] ^= 1 // in the first member's header, which has a sum of its own
	refused(t, read(string(spoilt)), "damaged")
}
