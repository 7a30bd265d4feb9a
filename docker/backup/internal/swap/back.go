package swap

import (
	"context"

	"github.com/jackc/pgx/v5"

	"wepp.example/backup/internal/event"
	"wepp.example/backup/internal/postgres"
	"wepp.example/backup/internal/scratch"
)

// Back makes the database that a swap kept the live one again, also when the server was lost since; it returns the name
// under which what was tried is kept. An error says what is live.
func Back(ctx context.Context, lock *scratch.Lock, kept string) (string, error) {
	err := lock.Renew(ctx)
	if err == nil {
		err = RefuseStrangers(ctx, lock, true)
	}
	var tried string
	if err == nil {
		tried, err = Swap(ctx, lock, kept, false, "swapped back: the services did not come up with it")
	}
	if err == nil || event.IsUnknown(err) {
		return tried, err
	}
	return "", event.Fail("`invoke db-rollback` swaps back", "the new %s is live now, for swapping back failed: %s", lock.Live, err)
}

// Standing is which database is live, known by its number, which no rename changes, and which was kept last.
type Standing struct {
	Database string `json:"database"`
	ID       uint32 `json:"id"` // 0: there is none of that name
	Kept     string `json:"kept"`
}

// Look tells what stands, as soon as the server is there to say it.
func Look(ctx context.Context, server postgres.Server, live string, report *event.Reporter) (Standing, error) {
	ctx, cancel := context.WithTimeout(ctx, knowPatience)
	defer cancel()
	found := Standing{Database: live}
	err := persist(ctx, server, live, report, func(session *pgx.Conn) error {
		kept, err := List(ctx, session, live)
		if err != nil {
			return err
		}
		found.Kept = ""
		if len(kept) > 0 {
			found.Kept = kept[0].Name
		}
		found.ID, err = oid(ctx, session, live)
		return err
	})
	return found, err
}

// LiveID is the number of the live database, 0 when there is none.
func LiveID(ctx context.Context, lock *scratch.Lock) (uint32, error) {
	return oid(ctx, lock.Session, lock.Live)
}
