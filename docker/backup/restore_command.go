package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"wepp.example/backup/internal/archive"
	"wepp.example/backup/internal/census"
	"wepp.example/backup/internal/event"
	"wepp.example/backup/internal/lease"
	"wepp.example/backup/internal/postgres"
	"wepp.example/backup/internal/scratch"
	"wepp.example/backup/internal/swap"
	"wepp.example/backup/internal/vault"
)

func init() {
	menu["restore"] = command{about: "restore a dump beside and swap it in: --dump PATH|NAME|latest [--jobs N] [--force]", run: runRestore}
}

// plan is what a restore is about to do, told before anything is changed.
type plan struct {
	Dump          string    `json:"dump"`
	Kind          string    `json:"kind"`
	Bytes         int64     `json:"bytes"`
	Checksummed   bool      `json:"checksummed"`
	Created       time.Time `json:"created,omitzero"`
	Server        string    `json:"server_version"`
	Rows          int64     `json:"rows"`           // -1: no manifest tells
	DatabaseBytes int64     `json:"database_bytes"` // 0: no manifest tells
	Database      string    `json:"database"`
	LiveBytes     int64     `json:"live_bytes"` // -1: there is no such database yet
	FreeBytes     int64     `json:"free_bytes"` // -1: the server does not tell
	NeededBytes   int64     `json:"needed_bytes"`
	Seconds       float64   `json:"seconds"`
	VerifySeconds float64   `json:"verify_seconds"`
}

// prepared is what stands beside the live database, ready to be swapped in.
type prepared struct {
	Rows         int64   `json:"rows"`
	Bytes        int64   `json:"bytes"`
	Revision     string  `json:"revision"`
	LiveRevision string  `json:"live_revision"`
	LiveID       uint32  `json:"live_id"`
	Seconds      float64 `json:"seconds"`
}

// restoring is one restore on its way.
type restoring struct {
	app      *app
	lock     *scratch.Lock
	dump     archive.Archive
	needs    archive.Needs
	manifest vault.Manifest // the zero one where none lies beside the dump
	jobs     int
	force    bool
}

// runRestore: ready (plan), `go`; ready (prepared), `swap`; ready (swapped), `keep`, `drop` or `back`; result.
func runRestore(ctx context.Context, app *app, args []string) error {
	flags := newFlags("restore")
	path := flags.String("dump", "", "a path, a name in the folder of backups, or latest")
	jobs := flags.Int("jobs", runtime.NumCPU(), "how much is loaded at a time")
	force := flags.Bool("force", false, "end the sessions of strangers; take a dump of another database or with little room")
	if err := parse(flags, args); err != nil {
		return err
	}
	if *jobs < 1 || *jobs > 64 {
		return event.Usage("give a number from 1 to 64", "--jobs=%d makes no sense", *jobs)
	}
	ctx, asker := lease.Begin(ctx, app.input)
	chosen, err := app.choose(*path)
	if err != nil {
		return err
	}
	run := &restoring{app: app, jobs: *jobs, force: *force}
	planned, err := run.examine(ctx, chosen)
	if run.lock != nil {
		app.afterwards(run.lock.Release)
	}
	if err != nil {
		return err
	}
	app.report.Ready(planned)
	if word, err := asker.Word(ctx); err != nil || word != "go" {
		return calledOff(err)
	}
	return run.carryOut(ctx, asker)
}

// latest names the newest verified backup.
const latest = "latest"

// choose makes what the user named a path.
func (app *app) choose(named string) (string, error) {
	if named != latest {
		return app.inFolder(named), nil
	}
	entries, err := app.vault().List()
	if err != nil {
		return "", err
	}
	now := time.Now()
	for _, each := range entries {
		if each.Verified && each.Ours && each.FromTheFuture(now) {
			app.report.Note("%s is from the future: a clock ran ahead when it was made; `latest` means another while there is one", each.Name)
		}
	}
	newest, found := vault.Newest(entries, now)
	if !found {
		return "", event.Refuse("name the dump you mean: `invoke db-backups` lists them, verified or not",
			"there is no verified backup of %s in %s", app.settings.Database, app.settings.Folder)
	}
	return newest.Path, nil
}

// examine verifies the dump and asks the server for what it needs; it changes nothing.
func (r *restoring) examine(ctx context.Context, path string) (plan, error) {
	started := time.Now()
	var err error
	if r.dump, err = archive.Open(path); err != nil {
		return plan{}, err
	}
	if r.manifest, err = vault.ReadManifest(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return plan{}, event.Refuse("move that file away to go on without it", "the manifest of %s cannot be used: %s", path, err)
	}
	if r.lock, err = scratch.Take(ctx, r.app.server, r.app.settings.Database, r.app.report); err != nil {
		return plan{}, err
	}
	if r.needs, err = archive.Verify(ctx, r.dump, r.app.report); err != nil {
		return plan{}, err
	}
	live := r.app.settings.Database
	if r.needs.Database != "" && r.needs.Database != live && !r.force {
		return plan{}, event.Refuse("choose a dump of "+live+", or say --force if this one is meant",
			"%s is a dump of the database %s, not of %s", path, r.needs.Database, live)
	}
	if err := scratch.Check(ctx, r.lock, r.dump, r.needs); err != nil {
		return plan{}, err
	}
	needed := scratch.Needed(r.dump.Bytes, r.manifest.DatabaseBytes, r.dump.Kind != archive.Plain || r.dump.Compression != "")
	told := plan{
		Dump: path, Kind: string(r.dump.Kind), Bytes: r.dump.Bytes, Checksummed: r.dump.Checksummed,
		Created: r.manifest.Created, Server: r.needs.ServerVersion, Rows: -1, DatabaseBytes: r.manifest.DatabaseBytes,
		Database: live, LiveBytes: r.size(ctx, live), FreeBytes: scratch.Free(ctx, r.lock), NeededBytes: needed,
		Seconds: float64(needed) / scratch.BytesPerSecond, VerifySeconds: time.Since(started).Seconds(),
	}
	if r.manifest.Format > 0 {
		told.Rows = r.manifest.Rows
	}
	if r.force {
		return told, nil
	}
	return told, scratch.RefuseFull(told.FreeBytes, needed)
}

// carryOut loads the dump beside the live database, checks it, and swaps when told to.
func (r *restoring) carryOut(ctx context.Context, asker *lease.Lease) error {
	started := time.Now()
	locale, _, err := scratch.LocaleOf(ctx, r.lock.Session, r.lock.Live)
	if err != nil {
		return fmt.Errorf("reading the locale of %s: %w", r.lock.Live, err)
	}
	beside, err := scratch.Create(ctx, r.lock, locale)
	if err != nil {
		return err
	}
	// After the swap no database has this name any more, and nothing is dropped.
	r.app.afterwards(func() { beside.Drop(r.app.report) })
	if err := beside.Load(ctx, r.dump, r.jobs, r.manifest.DatabaseBytes, r.app.report); err != nil {
		return err
	}
	r.app.report.Note("loaded; gathering statistics, counting rows")
	var ready prepared
	err = beside.AnalyseWhile(ctx, r.jobs, func(ctx context.Context) (err error) {
		ready, err = r.check(ctx, beside)
		return err
	})
	if err != nil {
		return err
	}
	ready.Seconds = time.Since(started).Seconds()
	r.app.report.Ready(ready)
	if word, err := asker.Word(ctx); err != nil || word != "swap" {
		return calledOff(err)
	}
	if err := swap.RefuseStrangers(ctx, r.lock, r.force); err != nil {
		return err
	}
	done, err := exchange(ctx, r.lock, beside.Name, true, "replaced by a restore of "+r.dump.Path)
	if err != nil {
		return err
	}
	return settle(ctx, r.app, r.lock, asker, done)
}

// check compares what was loaded with the manifest, and with what the application needs to start.
func (r *restoring) check(ctx context.Context, beside *scratch.Database) (prepared, error) {
	session, err := beside.Connect(ctx)
	if err != nil {
		return prepared{}, err
	}
	defer session.Close(context.Background()) //nolint:errcheck // told all it had to
	counts, err := census.Count(ctx, session)
	if err != nil {
		return prepared{}, err
	}
	if r.manifest.Format > 0 {
		if differences := r.manifest.Counts().Differences(counts); len(differences) > 0 {
			return prepared{}, event.Refuse("choose another dump: `invoke db-backups` lists them",
				"%s does not hold what its manifest says: %s", r.dump.Path, strings.Join(differences[:min(len(differences), 3)], "; "))
		}
	}
	revisions, err := revisionsOf(ctx, session)
	if err != nil {
		return prepared{}, err
	}
	liveRevisions, err := r.liveRevisions(ctx)
	if err != nil {
		return prepared{}, err
	}
	if len(revisions) != 1 && (len(revisions) > 1 || len(liveRevisions) > 0) && !r.force {
		return prepared{}, event.Refuse("choose a dump of the application's database, or say --force if this one is meant",
			"%s holds %d rows in alembic_version, and the application needs exactly one", r.dump.Path, len(revisions))
	}
	number, err := swap.LiveID(ctx, r.lock)
	return prepared{
		Rows: counts.Rows(), Bytes: r.size(ctx, beside.Name),
		Revision: first(revisions), LiveRevision: first(liveRevisions), LiveID: number,
	}, err
}

func (r *restoring) liveRevisions(ctx context.Context) ([]string, error) {
	if r.size(ctx, r.lock.Live) < 0 {
		return nil, nil
	}
	session, err := r.lock.Server.Connect(ctx, r.lock.Live)
	if err != nil {
		return nil, event.Midway(err)
	}
	defer session.Close(context.Background()) //nolint:errcheck // told all it had to
	return revisionsOf(ctx, session)
}

// size is that of a database in bytes, -1 when there is none of that name.
func (r *restoring) size(ctx context.Context, database string) int64 {
	var size int64
	err := r.lock.Session.QueryRow(ctx, "select pg_database_size(oid) from pg_database where datname = $1", database).Scan(&size)
	if err != nil {
		return -1
	}
	return size
}

// revisionsOf are the schema revisions that the application's migrations (Alembic) noted in a database.
func revisionsOf(ctx context.Context, session *pgx.Conn) ([]string, error) {
	var there bool
	if err := session.QueryRow(ctx, "select to_regclass('public.alembic_version') is not null").Scan(&there); err != nil {
		return nil, fmt.Errorf("looking for the schema's revision: %w", err)
	}
	if !there {
		return nil, nil
	}
	return postgres.Strings(ctx, session, "select version_num::text from public.alembic_version")
}

func first(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return names[0]
}
