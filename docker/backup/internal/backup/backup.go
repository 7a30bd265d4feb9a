// Package backup owns the making of one verified backup.
//
// A backup counts once it was dumped under a temporary name, read back whole and counted, synced, checksummed, given its
// manifest and renamed. Whatever happens on the way leaves the earlier backups as they were. A restore does not wait for
// a backup: where it swaps the databases in the middle of one, that begins anew.
package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"wepp.example/backup/internal/archive"
	"wepp.example/backup/internal/census"
	"wepp.example/backup/internal/event"
	"wepp.example/backup/internal/postgres"
	"wepp.example/backup/internal/vault"
)

// lockPatience is how long a table may be held against us (a schema change, a VACUUM FULL) before the run is given up
// and tried again later: behind a waiting dump everybody else would queue, too.
var lockPatience = 60 * time.Second

// Maker makes backups of one database.
type Maker struct {
	Server postgres.Server
	Vault  vault.Vault
	Report *event.Reporter
	Now    func() time.Time
	Free   func(folder string) (int64, error) // bytes that may be written there; FreeBytes outside tests
}

// Made is a backup: its place and its manifest.
type Made struct {
	Path string `json:"path"`
	vault.Manifest
}

// Make makes one backup, after waiting for whoever else writes into the folder.
func (m Maker) Make(ctx context.Context) (Made, error) {
	release, err := m.Vault.Lock(ctx, func() { m.Report.Note("another backup is being made; waiting for it") })
	if err != nil {
		return Made{}, err
	}
	defer release()
	swept, err := m.Vault.Sweep()
	if err != nil {
		return Made{}, err
	}
	for _, name := range swept {
		m.Report.Note("removed %s, which an interrupted run left", name)
	}
	for {
		number := m.number(ctx)
		made, err := m.make(ctx)
		if err == nil || !m.replaced(ctx, number) {
			return made, err
		}
		m.Report.Note("another database was put in the place of %s meanwhile; beginning anew with that one", m.Vault.Database)
	}
}

func (m Maker) make(ctx context.Context) (made Made, err error) {
	started := time.Now()
	taken, err := open(ctx, m.Server, m.Vault.Database)
	if err != nil {
		return made, m.explained(ctx, err)
	}
	defer taken.close()
	if err := m.refuseFull(taken.facts.DatabaseBytes); err != nil {
		return made, err
	}
	manifest := taken.facts
	manifest.Format, manifest.Created = vault.Format, m.Now().UTC().Truncate(time.Second)
	if manifest.Name, err = m.freeName(manifest.Created); err != nil {
		return made, err
	}
	made.Path = m.Vault.Path(manifest.Name)
	partial := m.Vault.Partial(manifest.Name)
	defer func() {
		if err != nil {
			for _, path := range []string{partial, made.Path + vault.GlobalsSuffix, made.Path + vault.ChecksumSuffix, made.Path + vault.ManifestSuffix} {
				os.Remove(path) //nolint:errcheck // what remains is swept by the next run
			}
		}
	}()
	globals, counts, err := m.write(ctx, taken, partial)
	if err != nil {
		return made, m.explained(ctx, err)
	}
	manifest.Tables, manifest.Views, manifest.LargeObjects, manifest.Rows = counts.Tables, counts.Views, counts.LargeObjects, counts.Rows()
	if err := m.seal(ctx, partial, &manifest, globals, started); err != nil {
		return made, m.explained(ctx, err)
	}
	made.Manifest = manifest
	return made, nil
}

// write dumps to the partial file and, while that goes on, reads it back, counts the rows of the snapshot and dumps the
// roles: the dump waits for one process of the server most of the time, so the second core is free for all that.
func (m Maker) write(ctx context.Context, taken *snapshot, partial string) (globals []byte, counts census.Counts, err error) {
	var held map[string]int64
	written := make(chan struct{})
	work, ctx := errgroup.WithContext(ctx)
	mode, err := m.Vault.DumpMode()
	if err != nil {
		return nil, counts, err
	}
	// Made here and by us alone: what follows it must find it.
	file, err := os.OpenFile(partial, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, counts, err
	}
	defer file.Close() //nolint:errcheck // pg_dump writes and syncs by its own descriptor
	if err := file.Chmod(mode); err != nil {
		return nil, counts, err
	}
	work.Go(func() error {
		defer close(written)
		return run(m.Server.Command(ctx, "pg_dump", "--format=custom", "--compress=zstd:1", "--no-password",
			"--snapshot="+taken.name, fmt.Sprintf("--lock-wait-timeout=%d", lockPatience.Milliseconds()),
			"--file="+partial, "--dbname="+postgres.Conninfo(m.Vault.Database)))
	})
	work.Go(func() (err error) {
		last := m.expected(taken.facts.DatabaseBytes)
		held, err = readBack(ctx, file, written, func(done int64) { m.Report.Progress("dumping", min(done, max(last-1, 0)), last) })
		return err
	})
	work.Go(func() (err error) {
		counts, err = census.Count(ctx, taken.session)
		return err
	})
	work.Go(func() (err error) {
		globals, err = m.globals(ctx)
		return err
	})
	if err := work.Wait(); err != nil {
		return nil, counts, err
	}
	return globals, counts, compare(counts, held)
}

// compare refuses a dump in which a table has other rows than its snapshot.
func compare(counts census.Counts, held map[string]int64) error {
	for name, rows := range counts.Tables {
		if strings.ContainsAny(name, "\n\r") {
			continue // such a name cannot be told from the dump's text
		}
		if held[name] != rows {
			return event.Fail("see the server's log and its disk; the next run tries again",
				"the dump holds %d rows of %s and the database has %d: it was thrown away", held[name], name, rows)
		}
	}
	return nil
}

// seal makes a dump that is whole a backup: checksum, companions, and last of all its name.
func (m Maker) seal(ctx context.Context, partial string, manifest *vault.Manifest, globals []byte, started time.Time) error {
	status, err := os.Stat(partial)
	if err != nil {
		return err
	}
	manifest.Bytes = status.Size()
	manifest.SHA256, err = archive.Sum(ctx, partial, func(done int64) { m.Report.Progress("checksum", done, manifest.Bytes) })
	if err != nil {
		return err
	}
	if err := run(m.Server.Command(ctx, "pg_restore", "--list", "--file="+os.DevNull, partial)); err != nil {
		return err
	}
	if err := vault.Sync(partial); err != nil {
		return err
	}
	manifest.Seconds = float64(time.Since(started).Milliseconds()) / 1000
	path := m.Vault.Path(manifest.Name)
	if err := vault.WriteFile(path+vault.GlobalsSuffix, globals); err != nil {
		return err
	}
	if err := vault.WriteFile(path+vault.ChecksumSuffix, []byte(manifest.SHA256+"  "+manifest.Name+"\n")); err != nil {
		return err
	}
	if err := vault.WriteManifest(path, *manifest); err != nil {
		return err
	}
	if err := os.Rename(partial, path); err != nil {
		return err
	}
	return vault.SyncFolder(m.Vault.Folder)
}

// globals are the roles of the server with their passwords' hashes, or without these where only a superuser may read them.
func (m Maker) globals(ctx context.Context) ([]byte, error) {
	args := []string{"--globals-only", "--no-password", "--dbname=" + postgres.Conninfo(m.Vault.Database)}
	text, err := output(m.Server.Command(ctx, "pg_dumpall", args...))
	if err != nil && ctx.Err() == nil {
		text, err = output(m.Server.Command(ctx, "pg_dumpall", append(args, "--no-role-passwords")...))
	}
	return text, err
}

// freeName is the name for that moment, or for the next second whose name nobody has.
func (m Maker) freeName(at time.Time) (string, error) {
	for ; ; at = at.Add(time.Second) {
		name := vault.Name(m.Vault.Database, at)
		if _, err := os.Lstat(m.Vault.Path(name)); errors.Is(err, fs.ErrNotExist) {
			return name, nil
		} else if err != nil {
			return "", fmt.Errorf("looking into %s: %w", filepath.Clean(m.Vault.Folder), err)
		}
	}
}
