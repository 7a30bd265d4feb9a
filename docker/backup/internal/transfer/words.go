package transfer

// What a move tells whoever asked for it, and the words that come back.

import (
	"context"

	"wepp.example/backup/internal/census"
	"wepp.example/backup/internal/event"
	"wepp.example/backup/internal/source"
	"wepp.example/backup/internal/swap"
)

// Answer says what was moved.
type Answer struct {
	Database     string                      `json:"database"`
	Kept         string                      `json:"kept"` // name of the database that was live before
	Source       source.Inventory            `json:"source"`
	Tables       map[string]census.TableHash `json:"tables"`
	Rows         int64                       `json:"rows"`
	LargeObjects int64                       `json:"large_objects"`
	DumpBytes    int64                       `json:"dump_bytes"`
	Equal        string                      `json:"equal"` // what was compared and is equal
	RolesMade    []string                    `json:"roles_made"`
	Seconds      map[string]float64          `json:"seconds"`
	Notes        []string                    `json:"notes"`
}

// Prepared is what is told when all is ready for the swap.
type Prepared struct {
	Incoming string             `json:"incoming"`
	Rows     int64              `json:"rows"`
	Tables   int                `json:"tables"`
	Seconds  map[string]float64 `json:"seconds"`
	Lag      int64              `json:"lag_bytes"`
	// Schema revisions of the moved database and of the one that is live until then.
	Revision     string `json:"revision"`
	LiveRevision string `json:"live_revision"`
	LiveID       uint32 `json:"live_id"` // see swap.Standing
}

// Swapped is what is told when the moved database is live, and it is asked whether it may stay.
type Swapped struct {
	Database string `json:"database"`
	Kept     string `json:"kept"`
}

// Words tells what is ready (Prepared, then Swapped) and returns the word that comes back: `swap`; `keep` or `back`.
// Silence before the swap calls the move off, silence after it keeps it.
type Words func(ready any) (string, error)

func (r *run) prepared(ctx context.Context, there census.Hashes, lag int64) (Prepared, error) {
	ready := Prepared{Incoming: r.incoming.Name, Rows: there.Counts().Rows(), Tables: len(there.Tables), Seconds: r.answer.Seconds, Lag: lag}
	var err error
	if ready.LiveID, err = swap.LiveID(ctx, r.lock); err != nil {
		return ready, err
	}
	for database, into := range map[string]*string{r.incoming.Name: &ready.Revision, r.Database: &ready.LiveRevision} {
		session, err := r.Target.Connect(ctx, database)
		if err != nil {
			return ready, event.Midway(err)
		}
		*into, err = r.Revision(ctx, session)
		session.Close(ctx) //nolint:errcheck,gosec // told all it had to
		if err != nil {
			return ready, err
		}
	}
	return ready, nil
}

// await says that all is prepared and waits for the word to swap.
func (r *run) await(ctx context.Context, words Words, there census.Hashes, lag int64) error {
	ready, err := r.prepared(ctx, there, lag)
	if err != nil {
		return err
	}
	word, err := words(ready)
	if err == nil && word != "swap" {
		err = event.Refuse("run it again", "it was called off; nothing was changed")
	}
	return err
}

// conclude asks whether the moved database may stay live. If not, the one before is live again and the move undone.
func (r *run) conclude(ctx context.Context, words Words) error {
	word, _ := words(Swapped{Database: r.Database, Kept: r.answer.Kept})
	// The asker may be gone; what is begun here is ended.
	ctx = context.WithoutCancel(ctx)
	if word != "back" || r.answer.Kept == "" {
		r.undo = nil
		r.keepRoles(ctx)
		return nil
	}
	tried, err := swap.Back(ctx, r.lock, r.answer.Kept)
	if err != nil {
		return err
	}
	r.moved = false
	if err := swap.Drop(ctx, r.lock, tried); err != nil {
		r.Report.Note("%s stays behind: %s", tried, err)
	}
	return event.Fail("see why they did not come up, then run it again", "the services did not come up with the moved database; the one before is live again")
}
