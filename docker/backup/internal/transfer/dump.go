package transfer

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"wepp.example/backup/internal/census"
	"wepp.example/backup/internal/event"
	"wepp.example/backup/internal/postgres"
	"wepp.example/backup/internal/source"
)

// reading hashes the held moment of the source, while it is dumped and loaded: neither keeps all processors busy.
type reading struct {
	there census.Hashes
	done  chan struct{}
}

// read begins to hash. The context it returns ends with the reason when that fails. Once the rows have travelled, too, the
// source's tables may be changed again.
func (r *run) read(ctx context.Context, held *source.Snapshot, travelled <-chan struct{}) (context.Context, *reading) {
	ctx, cancel := context.WithCancelCause(ctx)
	under := &reading{done: make(chan struct{})}
	go func() {
		defer close(under.done)
		var err error
		if under.there, err = census.Hash(ctx, held.Session); err == nil {
			select {
			case <-travelled:
				err = held.LetChange(ctx)
			case <-ctx.Done():
				return
			}
		}
		if err != nil {
			cancel(event.Fail("see the source's log, then run it again", "the source could not be read: %s", err))
		}
	}()
	return ctx, under
}

// result waits for the hashes.
func (u *reading) result(ctx context.Context) (census.Hashes, error) {
	<-u.done
	return u.there, context.Cause(ctx)
}

// dump writes the held moment, without the rows of some tables, into a hidden folder beside the backups.
func (r *run) dump(ctx context.Context, held *source.Snapshot, without []stream) (string, error) {
	folder := filepath.Join(r.Folder, dumpPrefix+strconv.FormatInt(time.Now().UnixMilli(), 10))
	r.later(func() { removeFolder(folder) })
	return folder, r.pgDump(ctx, folder, held.Name, without)
}

func (r *run) pgDump(ctx context.Context, folder, snapshot string, without []stream) error {
	args := []string{"--format=directory", "--jobs=" + strconv.Itoa(r.Jobs), "--compress=zstd:1",
		"--snapshot=" + snapshot, "--no-subscriptions", "--no-password", "--lock-wait-timeout=60000", "--file=" + folder, "--dbname=" + postgres.Conninfo(r.Source.Database)}
	if r.Live {
		args = append(args, "--no-publications") // the channel is one, of a user that the target may not know
	}
	for _, name := range names(without) {
		// A pattern's quoted names are taken as they are.
		args = append(args, "--exclude-table-data="+name)
	}
	command := r.Source.Server.Command(ctx, "pg_dump", args...)
	var told bytes.Buffer
	command.Stderr = &told
	watch, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		for watch.Err() == nil {
			r.Report.Progress("dumping", folderBytes(folder), 0)
			select {
			case <-watch.Done():
			case <-time.After(500 * time.Millisecond):
			}
		}
	}()
	err := command.Run()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		why := postgres.FirstError(told.String())
		if strings.Contains(why, "could not obtain lock") || strings.Contains(why, "due to lock timeout") {
			return event.Fail(mendLocked, "the source could not be dumped: %s", why)
		}
		if why == "" {
			why = err.Error()
		}
		return event.Fail("mend what it says (make room, use a --user that may read everything) and run it again", "the source could not be dumped: %s", why)
	}
	return nil
}

func folderBytes(folder string) int64 {
	var total int64
	filepath.WalkDir(folder, func(_ string, entry fs.DirEntry, err error) error { //nolint:errcheck // for progress only
		if err == nil && !entry.IsDir() {
			if about, err := os.Lstat(filepath.Join(folder, entry.Name())); err == nil {
				total += about.Size()
			}
		}
		return nil
	})
	return total
}

// compare reads the loaded database as the source was read, and refuses any difference.
func (r *run) compare(ctx context.Context, held *source.Snapshot, there census.Hashes) error {
	session, err := r.incoming.Connect(ctx)
	if err != nil {
		return err
	}
	defer session.Close(context.Background()) //nolint:errcheck // read only
	r.Report.Note("comparing every row with the source")
	var differences []string
	if r.plan.Comparison == "rows" {
		here, err := census.Count(ctx, session)
		if err != nil {
			return err
		}
		differences = there.Counts().Differences(here)
		r.answer.Equal = "rows of every table"
	} else {
		here, err := census.Hash(ctx, session)
		if err != nil {
			return err
		}
		if r.Live || r.Force {
			// They run on, in no snapshot; set at the cut-over, or a little ahead of what was left behind.
			here.Sequences = there.Sequences
		}
		differences = there.Differences(here)
		r.answer.Equal = "rows and hashes of every table, sequences, large objects"
	}
	if len(differences) > 0 {
		if now, err := r.Source.Now(ctx); err == nil && !r.Live && !held.Mark.Untouched(now) {
			return written(held.Mark.Changes(now), differences)
		}
		return event.Fail("run it again; if it stays so, the source's data files may be damaged (pg_amcheck)",
			"the loaded database differs from the source: %s", some(differences))
	}
	r.answer.Tables, r.answer.Rows, r.answer.LargeObjects = there.Tables, there.Counts().Rows(), there.Count
	return nil
}

// unwritten refuses when the source was written since the mark. exact: where the server's transaction numbers moved on,
// which another database or the autovacuum may have done, and the statistics prove nothing, everything is read again;
// else the statistics alone decide.
func (r *run) unwritten(ctx context.Context, mark source.Mark, there census.Hashes, exact bool) error {
	now, err := r.Source.Now(ctx)
	if err != nil {
		return err
	}
	if mark.Untouched(now) || r.Force {
		return nil
	}
	changes := mark.Changes(now)
	var differences []string
	if exact {
		if quiet, err := r.Source.Quiet(ctx, mark, r.plan.Source.Major()); err != nil || quiet {
			return err
		}
		r.Report.Note("something was written on the source's server meanwhile; reading the database again to see whether it was this one")
		held, err := r.Source.Hold(ctx)
		if err != nil {
			return event.Midway(err)
		}
		defer held.Release()
		again, err := census.Hash(ctx, held.Session)
		if err != nil {
			return fmt.Errorf("reading the source again: %w", err)
		}
		if differences = there.Differences(again); len(differences) == 0 {
			return nil
		}
	} else if changes == 0 {
		return nil
	}
	return written(changes, differences)
}

func written(changes int64, differences []string) error {
	what := fmt.Sprintf("the source was written during the move: %d rows", max(changes, int64(len(differences))))
	if len(differences) > 0 {
		what += " (" + some(differences) + ")"
	}
	return event.Refuse("stop what writes there and run it again; or --live, which takes changes along; or --force to leave them behind", "%s", what)
}
