package transfer

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"wepp.example/backup/internal/census"
	"wepp.example/backup/internal/event"
	"wepp.example/backup/internal/postgres"
	"wepp.example/backup/internal/source"
	"wepp.example/backup/internal/swap"
)

const (
	// smallLag in bytes of the source's log is what a cut-over catches up with at once.
	smallLag = 4 << 20
	// followPause lies between two looks at the lag.
	followPause = 500 * time.Millisecond
	// cutOverPatience is for the last changes to arrive while nobody may write.
	cutOverPatience = 20 * time.Second
	// checkSeconds is what the cut-over may spend on comparing.
	checkSeconds = 2500 * time.Millisecond
	// cheapBytes is how large a database may be for every row to be hashed again in the cut-over.
	cheapBytes = 128 << 20
)

// liveNeeds adds to the plan what stands in the way of logical replication, each with its mend.
func (m *Move) liveNeeds(ctx context.Context, plan *Plan, target *pgx.Conn) error {
	ready, err := m.Source.Readiness(ctx)
	if err != nil {
		return err
	}
	if ready.WALLevel != "logical" {
		plan.obstacle("on the source: ALTER SYSTEM SET wal_level = logical; then restart it (once; or move it at rest, without --live)",
			"the source's wal_level is %s, --live needs logical", ready.WALLevel)
	}
	if ready.FreeSlots < 1 {
		plan.obstacle("on the source: raise max_replication_slots and restart it, or drop an unused slot", "the source has no free replication slot")
	}
	if ready.FreeSenders < 2 {
		plan.obstacle("on the source: raise max_wal_senders and restart it", "the source has %d free WAL senders, --live needs 2", ready.FreeSenders)
	}
	if !ready.Replication {
		plan.obstacle(fmt.Sprintf("on the source, as a superuser: ALTER ROLE %s REPLICATION", postgres.Quote(plan.Source.User)),
			"%s may not open replication sessions", plan.Source.User)
	}
	if !ready.OwnsDatabase || len(ready.NotOwned) > 0 {
		plan.obstacle("use a superuser of the source as --user, or the owner of the database and all its tables",
			"%s does not own the whole database (%s)", plan.Source.User, some(append(ready.NotOwned, "database "+m.Source.Database)))
	}
	if len(ready.NoIdentity) > 0 {
		plan.obstacle("give each a primary key, or on the source: "+identityStatements(ready.NoIdentity),
			"the source's server cannot tell the rows of these tables apart, their updates would fail: %s", some(ready.NoIdentity))
	}
	if plan.Source.LargeObjects > 0 {
		plan.obstacle("move at rest, without --live", "changes of large objects do not travel with logical replication, and the source has %d", plan.Source.LargeObjects)
	}
	if len(ready.Unlogged) > 0 {
		plan.obstacle("on the source: ALTER TABLE ... SET LOGGED, or move at rest, without --live",
			"changes of unlogged tables do not travel with logical replication: %s", some(ready.Unlogged))
	}
	if len(ready.AlwaysTrigger) > 0 {
		plan.obstacle("on the source: ALTER TABLE ... ENABLE TRIGGER (without ALWAYS or REPLICA), or move at rest",
			"these triggers would fire a second time where the changes arrive: %s", some(ready.AlwaysTrigger))
	}
	if plan.Comparison == "rows" {
		plan.obstacle("move at rest, without --live", "--live does not convert encodings")
	}
	var workers, origins int
	var superuser bool
	err = target.QueryRow(ctx, `select current_setting('max_logical_replication_workers')::int, current_setting('max_replication_slots')::int,
		(select rolsuper from pg_roles where rolname = current_user)`).Scan(&workers, &origins, &superuser)
	if err != nil {
		return fmt.Errorf("looking at the stack's server: %w", err)
	}
	if workers < 1 || origins < 1 || !superuser {
		plan.obstacle("raise max_logical_replication_workers and max_replication_slots in docker/postgres/wepppy.conf and restart it; POSTGRES_USER must be a superuser",
			"the stack's server takes no subscription (workers %d, origins %d, superuser %t)", workers, origins, superuser)
	}
	return nil
}

func identityStatements(tables []string) string {
	const shown = 3
	parts := []string{}
	for i, table := range tables {
		if i == shown {
			parts = append(parts, fmt.Sprintf("and so for %d more", len(tables)-shown))
			break
		}
		parts = append(parts, "ALTER TABLE "+table+" REPLICA IDENTITY FULL;")
	}
	return strings.Join(parts, " ")
}

func (r *run) live(ctx context.Context, words Words) error {
	if err := r.Source.SweepChannels(ctx, r.Report); err != nil {
		return err
	}
	channel, held, err := r.Source.OpenChannel(ctx, r.plan.Source.Superuser, r.Report)
	if err != nil {
		return err
	}
	r.later(func() { channel.Close(r.Report) })
	defer held.Release()
	shape, err := held.Shape(ctx)
	if err != nil {
		return err
	}
	there, err := r.copyAcross(ctx, held)
	if err != nil {
		return err
	}
	held.Release()
	channel.EndSnapshot()
	link, err := r.catchUp(ctx, channel)
	// A change of definitions shows itself in many ways; this is the one that can be mended.
	if changed := r.sameShape(ctx, shape); changed != nil && ctx.Err() == nil {
		return changed
	}
	if err != nil {
		return err
	}
	r.lap("follow")
	lag, err := channel.Position(ctx)
	if err != nil {
		return err
	}
	if err := r.await(ctx, words, there, lag); err != nil {
		return err
	}
	return r.cutOver(ctx, channel, link, shape, words)
}

// catchUp subscribes and takes in what was written since the held moment.
func (r *run) catchUp(ctx context.Context, channel *source.Channel) (*subscription, error) {
	link, err := r.subscribe(ctx, channel)
	if err != nil {
		return nil, err
	}
	if err := r.follow(ctx, channel, link); err != nil {
		return nil, err
	}
	if err := r.refreshViews(ctx); err != nil {
		return nil, err
	}
	return link, r.follow(ctx, channel, link)
}

// follow waits until the changes that have not arrived yet are few.
func (r *run) follow(ctx context.Context, channel *source.Channel, link *subscription) error {
	var first int64
	for quiet := 0; quiet < 2; {
		lag, err := channel.Position(ctx)
		if err != nil {
			return err
		}
		if err := link.well(ctx); err != nil {
			return err
		}
		first = max(first, lag)
		r.Report.Progress("following", first-lag, first)
		if lag <= smallLag {
			quiet++
		} else {
			quiet = 0
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(followPause):
		}
	}
	return nil
}

// cutOver closes the source to writers, waits for the last changes, and swaps.
func (r *run) cutOver(ctx context.Context, channel *source.Channel, link *subscription, shape string, words Words) error {
	// Whoever holds the target in the way is told before the source stops.
	if err := swap.RefuseStrangers(ctx, r.lock, r.Force); err != nil {
		return err
	}
	r.clock = time.Now()
	seal, err := r.Source.Seal(ctx, r.Report)
	if err != nil {
		return err
	}
	r.later(func() { seal.Break(r.Report) })
	if err := r.sameShape(ctx, shape); err != nil {
		return err
	}
	if err := r.arrive(ctx, channel, link); err != nil {
		return err
	}
	if err := r.carrySequences(ctx); err != nil {
		return err
	}
	if err := r.checkQuickly(ctx); err != nil {
		return err
	}
	// A session that had switched read-only off for itself might have written until now.
	if err := r.arrive(ctx, channel, link); err != nil {
		return err
	}
	mark, err := r.Source.Now(ctx)
	if err != nil {
		return err
	}
	if err := link.drop(ctx); err != nil {
		return err
	}
	if err := r.swap(ctx); err != nil {
		return err
	}
	r.lap("downtime")
	if after, err := r.Source.Now(ctx); err == nil && mark.Changes(after) > 0 {
		r.answer.Notes = append(r.answer.Notes, fmt.Sprintf("somebody wrote %d rows to the source in spite of its being read-only; they are not in the stack", mark.Changes(after)))
	}
	if err := r.conclude(ctx, words); err != nil {
		return err
	}
	channel.Close(r.Report)
	r.answer.Notes = append(r.answer.Notes, "the source is left read-only, for a write there would be lost; to open it again: "+seal.Undo())
	return nil
}

// arrive waits until the target has everything that is committed on the source.
func (r *run) arrive(ctx context.Context, channel *source.Channel, link *subscription) error {
	position, err := channel.Flush(ctx)
	if err != nil {
		return err
	}
	for until := time.Now().Add(cutOverPatience); ; {
		reached, err := channel.Confirmed(ctx, position)
		if err != nil {
			return fmt.Errorf("asking how far the changes have come: %w", err)
		}
		if reached {
			return nil
		}
		if err := link.well(ctx); err != nil {
			return err
		}
		if time.Now().After(until) {
			return event.Fail("run it again when the source is less busy", "the last changes did not arrive within %s; the source is open again", cutOverPatience)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (r *run) sameShape(ctx context.Context, shape string) error {
	now, err := r.Source.Shape(ctx)
	if err != nil {
		return err
	}
	if now != shape {
		return event.Fail("let nobody change the schema meanwhile (migrations, CREATE, ALTER) and run it again",
			"the source's schema was changed during the move, and such changes do not travel with logical replication")
	}
	return nil
}

// checkQuickly compares both sides while the source stands still: every row where that is a matter of a second, the
// numbers of rows where that fits into the pause.
func (r *run) checkQuickly(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, checkSeconds)
	defer cancel()
	from, err := r.Source.Server.Connect(ctx, r.Source.Database)
	if err != nil {
		return err
	}
	defer from.Close(context.Background()) //nolint:errcheck // read only
	to, err := r.incoming.Connect(ctx)
	if err != nil {
		return err
	}
	defer to.Close(context.Background()) //nolint:errcheck // read only
	var differences []string
	equal := ""
	if r.plan.Source.Bytes <= cheapBytes {
		there, here, err := both(limited, from, to, census.Hash)
		if err == nil {
			equal, differences = "rows and hashes of every table and sequences, at the cut-over", there.Differences(here)
			r.answer.Tables, r.answer.Rows = here.Tables, here.Counts().Rows()
		} else if limited.Err() == nil {
			return err
		}
	} else {
		there, here, err := both(limited, from, to, census.Count)
		if err == nil {
			equal = "rows and hashes of every table at the first moment, numbers of rows at the cut-over"
			differences = there.Differences(here)
			for name, rows := range here.Tables {
				r.answer.Tables[name] = census.TableHash{Rows: rows}
			}
			r.answer.Rows = here.Rows()
		} else if limited.Err() == nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if equal == "" {
		equal = "rows and hashes of every table at the first moment; what was written since arrived to the last byte of the source's log, and was not counted again, which would have lengthened the pause"
	}
	r.answer.Equal = equal
	if len(differences) > 0 {
		return event.Fail("run it again, or move at rest, without --live", "after the cut-over the databases would differ: %s", some(differences))
	}
	return nil
}

// both asks the two sides at the same time.
func both[T any](ctx context.Context, from, to *pgx.Conn, ask func(context.Context, *pgx.Conn) (T, error)) (there, here T, err error) {
	failed := make(chan error, 1)
	go func() {
		var err error
		there, err = ask(ctx, from)
		failed <- err
	}()
	here, err = ask(ctx, to)
	if other := <-failed; other != nil {
		err = other
	}
	return there, here, err
}
