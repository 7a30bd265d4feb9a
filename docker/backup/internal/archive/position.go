package archive

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"wepp.example/backup/internal/event"
)

const lookPause = 300 * time.Millisecond

// readThrough runs a program that reads the dump to its end, and tells how far it is by where it stands in its file.
func readThrough(ctx context.Context, command *exec.Cmd, dump Archive, report *event.Reporter) error {
	var told bytes.Buffer
	command.Stderr = &told
	if err := command.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", command.Path, err)
	}
	ended := make(chan struct{})
	go func() {
		for {
			select {
			case <-ended:
				return
			case <-time.After(lookPause):
				report.Progress("reading", position(command.Process.Pid, dump.Path), dump.Bytes)
			}
		}
	}()
	err := command.Wait()
	close(ended)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return unfit(command.Path, dump.Path, told.String(), err)
	}
	report.Progress("reading", dump.Bytes, dump.Bytes)
	return nil
}

// position is how far a process has read in the file it has open (Linux: /proc/PID/fdinfo), 0 where that cannot be told.
func position(pid int, path string) int64 {
	folder := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(folder)
	if err != nil {
		return 0
	}
	for _, entry := range entries {
		if target, err := os.Readlink(filepath.Join(folder, entry.Name())); err != nil || target != path {
			continue
		}
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%s", pid, entry.Name()))
		if err != nil {
			return 0
		}
		first, _, _ := strings.Cut(string(text), "\n")
		number, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimPrefix(first, "pos:")), 10, 64)
		return number
	}
	return 0
}
