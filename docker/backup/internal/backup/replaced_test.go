package backup

import (
	"context"
	"maps"
	"testing"

	"wepp.example/backup/internal/postgres"
	"wepp.example/backup/internal/scratch"
	"wepp.example/backup/internal/servertest"
	"wepp.example/backup/internal/swap"
)

func TestABackupInWhoseMiddleTheDatabasesAreSwappedIsMadeOfTheNewOne(t *testing.T) {
	m, ctx := filled(t), context.Background()
	// The backup waits for the holder's lock; the swap ends the sessions of both.
	holder := servertest.Session(t, m.Server, "wepppy")
	if _, err := holder.Exec(ctx, "BEGIN; LOCK TABLE public.run"); err != nil {
		t.Fatal(err)
	}
	var made Made
	ended := make(chan error, 1)
	go func() {
		var err error
		made, err = m.Make(ctx)
		ended <- err
	}()
	watching := servertest.Session(t, m.Server, "postgres")
	for {
		waiting, err := postgres.Strings(ctx, watching, "SELECT pid::text FROM pg_stat_activity WHERE datname = 'wepppy' AND wait_event_type = 'Lock'")
		if err != nil {
			t.Fatal(err)
		}
		if len(waiting) > 0 {
			break
		}
	}
	lock, err := scratch.Take(ctx, m.Server, "wepppy", m.Report)
	if err != nil {
		t.Fatal(err)
	}
	beside, err := scratch.Create(ctx, lock, scratch.Locale{})
	if err != nil {
		t.Fatal(err)
	}
	servertest.Do(t, m.Server, beside.Name, "CREATE TABLE public.other AS SELECT 1 id")
	if _, err := swap.Swap(ctx, lock, beside.Name, false, "of a test"); err != nil {
		t.Fatal(err)
	}
	lock.Release()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if want := map[string]int64{"public.other": 1}; !maps.Equal(made.Tables, want) {
		t.Fatalf("%v", made.Tables)
	}
	if found := files(t, m); len(found) != 4 {
		t.Fatalf("%q", found)
	}
}
