// Package drill owns the test restore: a backup is really loaded into a scratch database beside the live one, compared
// with its manifest, and the scratch database is dropped. Nothing proves a backup but this.
package drill

import (
	"context"
	"fmt"
	"strings"
	"time"

	"wepp.example/backup/internal/archive"
	"wepp.example/backup/internal/census"
	"wepp.example/backup/internal/event"
	"wepp.example/backup/internal/postgres"
	"wepp.example/backup/internal/scratch"
	"wepp.example/backup/internal/vault"
)

// jobs at a time: one, for the application is at work beside it.
const jobs = 1

// Run restores a dump on trial. An error means that the trial could not be held (the server is away, its disk is too
// small, another restore is under way), and says nothing about the dump; what the trial found is in the Drill.
func Run(ctx context.Context, server postgres.Server, database, path string, report *event.Reporter) (vault.Drill, error) {
	defer vault.Hold(path)()
	started := time.Now()
	outcome := vault.Drill{}
	lock, err := scratch.TakeForTrial(ctx, server, database, report)
	if err != nil {
		return outcome, err
	}
	defer lock.Release()
	if err := lock.Session.QueryRow(ctx, "SELECT current_setting('server_version')").Scan(&outcome.ServerVersion); err != nil {
		return outcome, fmt.Errorf("asking for the server's version: %w", err)
	}
	trial := &trial{lock: lock, database: database, report: report}
	outcome.Rows, err = trial.hold(ctx, path)
	if ctx.Err() != nil {
		return outcome, context.Cause(ctx)
	}
	outcome.Drilled = time.Now().UTC().Truncate(time.Second)
	outcome.Seconds = float64(time.Since(started).Milliseconds()) / 1000
	if err != nil {
		// Without its lock the trial's database may have been taken away: the dump is not to blame.
		if lost := lock.Session.Ping(ctx); lost != nil {
			return outcome, event.Fail("run it again when the other one has ended", "the test restore gave way to a restore, or the server went away")
		}
		problem := event.ProblemOf(err)
		if problem.Exit != event.ExitRefused {
			return outcome, err
		}
		outcome.Problem = problem.What
	}
	outcome.OK = err == nil
	return outcome, nil
}

type trial struct {
	lock     *scratch.Lock
	database string
	report   *event.Reporter
}

// hold returns the rows of the restored database; a refusal is what the dump is to blame for.
func (t *trial) hold(ctx context.Context, path string) (int64, error) {
	dump, err := archive.Open(path)
	if err != nil {
		return 0, err
	}
	needs, err := archive.Verify(ctx, dump, t.report)
	if err != nil {
		return 0, err
	}
	if err := scratch.Check(ctx, t.lock, dump, needs); err != nil {
		return 0, err
	}
	manifest, unread := vault.ReadManifest(path)
	// Not the dump's fault, so no refusal.
	if err := scratch.RefuseFull(scratch.Free(ctx, t.lock), scratch.Needed(dump.Bytes, manifest.DatabaseBytes, true)); err != nil {
		return 0, event.Fail("make room on the server's disk", "no test restore: %s", err)
	}
	locale, _, err := scratch.LocaleOf(ctx, t.lock.Session, t.database)
	if err != nil {
		return 0, err
	}
	made, err := scratch.Create(ctx, t.lock, locale)
	if err != nil {
		return 0, event.Fail("see the server's log", "no test restore: %s", err)
	}
	defer made.Drop(t.report)
	if err := made.Load(ctx, dump, jobs, manifest.DatabaseBytes, t.report); err != nil {
		return 0, err
	}
	session, err := made.Connect(ctx)
	if err != nil {
		return 0, err
	}
	defer session.Close(context.Background()) //nolint:errcheck // the database is dropped next
	counts, err := census.Count(ctx, session)
	if err != nil || unread != nil {
		return counts.Rows(), err
	}
	if found := manifest.Counts().Differences(counts); found != nil {
		return counts.Rows(), event.Refuse("choose another dump, and see why", "restored it differs from its manifest: %s", strings.Join(found, "; "))
	}
	return counts.Rows(), nil
}
