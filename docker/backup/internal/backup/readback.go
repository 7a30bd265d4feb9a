package backup

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"wepp.example/backup/internal/child"
)

// readBack reads the dump while it is being written, and returns the rows that it holds by table.
//
// pg_restore gets the file through a pipe, as it grows: every block is decompressed and written out as SQL, of which the
// rows are counted. Only the table of contents changes once more at the end of a dump, when it learns where the blocks
// lie; through a pipe it is not used for that.
func readBack(ctx context.Context, file *os.File, written <-chan struct{}, tell func(int64)) (map[string]int64, error) {
	var told bytes.Buffer
	command := child.Command(ctx, "pg_restore", "--data-only", "--file=-")
	command.Stdin = &follower{ctx: ctx, file: file, written: written, tell: tell}
	command.Stderr = &told
	text, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("starting pg_restore: %w", err)
	}
	rows, wrong := countRows(text, window)
	ended := command.Wait()
	if err := failed(command, told.String(), ended); err != nil {
		return rows, err
	}
	return rows, wrong
}

const (
	followPause = 20 * time.Millisecond
	// flushEvery so many bytes the kernel is asked to write them out, so that the sync at the end finds little to do.
	flushEvery = 16 << 20
)

// follower reads a file that another process still writes to its end, until `written` is closed.
type follower struct {
	ctx     context.Context //nolint:containedctx // lives for one call
	file    *os.File
	written <-chan struct{}
	tell    func(int64)
	done    int64
	flushed int64
	ended   bool
}

func (f *follower) Read(buffer []byte) (int, error) {
	for {
		count, err := f.file.ReadAt(buffer, f.done)
		f.done += int64(count)
		if count > 0 {
			f.flush()
			f.tell(f.done)
			return count, nil
		}
		if err != nil && err != io.EOF {
			return 0, err
		}
		if f.ended {
			return 0, io.EOF
		}
		select {
		case <-f.written:
			f.ended = true // and read once more: the last bytes came before this was said
		case <-f.ctx.Done():
			return 0, f.ctx.Err()
		case <-time.After(followPause):
		}
	}
}

func (f *follower) flush() {
	if f.done-f.flushed >= flushEvery {
		unix.SyncFileRange(int(f.file.Fd()), f.flushed, f.done-f.flushed, unix.SYNC_FILE_RANGE_WRITE) //nolint:errcheck,gosec // only a hint
		f.flushed = f.done
	}
}
