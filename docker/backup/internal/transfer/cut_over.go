package transfer

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"wepp.example/backup/internal/census"
	"wepp.example/backup/internal/event"
	"wepp.example/backup/internal/source"
	"wepp.example/backup/internal/swap"
)

const (
	// cutOverPatience is for the last changes to arrive while nobody may write.
	cutOverPatience = 20 * time.Second
	// checkSeconds is what the cut-over may spend on comparing.
	checkSeconds = 2500 * time.Millisecond
	// cheapBytes is how large a database may be for every row to be hashed again in the cut-over.
	cheapBytes = 128 << 20
)

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
	r.later(func() {
		if r.moved {
			// Two databases that both take writes would be worse than one that takes none.
			seal.Leave(r.Report)
			return
		}
		seal.Break(r.Report)
	})
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
		return event.Midway(err)
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
