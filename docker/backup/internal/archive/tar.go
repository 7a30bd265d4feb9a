package archive

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"wepp.example/backup/internal/event"
)

// tarEnd is how a tar ends: two blocks of zeroes (POSIX.1-1988).
const tarEnd = 2 * 512

// readTar reads a tar's members to their ends. pg_restore cannot be asked for that: at one that was cut it waits for ever.
func readTar(ctx context.Context, dump Archive, report *event.Reporter) error {
	file, err := os.Open(dump.Path)
	if err != nil {
		return unreadable(dump.Path, err)
	}
	defer file.Close() //nolint:errcheck // read only
	members := tar.NewReader(&counter{Reader: file, ctx: ctx, tell: func(done int64) { report.Progress("reading", done, dump.Bytes) }})
	for {
		_, err := members.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			_, err = io.Copy(io.Discard, members)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return damaged(dump.Path, fmt.Sprintf("as a tar it cannot be read: %s", err))
		}
	}
	end := make([]byte, tarEnd)
	if _, err := file.ReadAt(end, max(0, dump.Bytes-tarEnd)); err != nil || [tarEnd]byte(end) != [tarEnd]byte{} {
		return damaged(dump.Path, "it does not end as a tar does")
	}
	return nil
}
