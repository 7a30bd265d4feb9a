package source

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"wepp.example/backup/internal/postgres"
	"wepp.example/backup/internal/servertest"
)

// impatient waits a tenth of a second for locks instead of a minute, until the test's end.
func impatient(t *testing.T) {
	t.Helper()
	patience := lockPatience
	lockPatience = patience / 600
	t.Cleanup(func() { lockPatience = patience })
}

// hold gives a moment of the database, held until the test's end.
func hold(t *testing.T, server postgres.Server) (*Source, *Snapshot) {
	t.Helper()
	source := &Source{Server: server, Database: "wepppy"}
	held, err := source.Hold(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(held.Release)
	return source, held
}

// lock has somebody else hold the table public.one until the test's end.
func lock(t *testing.T, server postgres.Server) {
	t.Helper()
	another := servertest.Session(t, server, "wepppy")
	for _, statement := range []string{"BEGIN", "LOCK TABLE public.one"} {
		if _, err := another.Exec(context.Background(), statement); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAKeptTableTakesRowsButIsNotEmptiedUntilTheMomentIsLetGo(t *testing.T) {
	server := servertest.Start(t)
	servertest.Do(t, server, "wepppy", `CREATE TABLE public."a ""b""" (id int)`, "CREATE TABLE public.other (id int)")
	ctx := context.Background()
	_, held := hold(t, server)
	if err := held.Keep(ctx, []string{`public."a ""b"""`, "public.other"}); err != nil {
		t.Fatal(err)
	}
	another := servertest.Session(t, server, "wepppy")
	for statement, allowed := range map[string]bool{
		`INSERT INTO public."a ""b""" VALUES (1)`: true,
		`TRUNCATE public."a ""b"""`:               false,
		"ALTER TABLE public.other ADD more int":   false,
	} {
		_, err := another.Exec(ctx, "SET lock_timeout = 100; "+statement)
		var answer *pgconn.PgError
		if errors.As(err, &answer) && answer.Code != "55P03" || (err == nil) != allowed {
			t.Errorf("%s: %v", statement, err)
		}
	}
	held.Release()
	servertest.Do(t, server, "wepppy", `TRUNCATE public."a ""b"""`)
}

func TestAKeptTableMayChangeAgainAsSoonAsItsRowsAreRead(t *testing.T) {
	server := servertest.Start(t)
	servertest.Do(t, server, "wepppy", "CREATE TABLE public.one (id int)", "CREATE TABLE public.two (id int)", "INSERT INTO public.two VALUES (1)")
	ctx := context.Background()
	source, held := hold(t, server)
	if err := held.LetChange(ctx); err != nil {
		t.Errorf("nothing is kept: %v", err)
	}
	if err := held.Keep(ctx, []string{"public.one"}); err != nil {
		t.Fatal(err)
	}
	if err := held.LetChange(ctx); err != nil {
		t.Fatal(err)
	}
	servertest.Do(t, server, "wepppy", "SET lock_timeout = 100; TRUNCATE public.one; DELETE FROM public.two")
	joined, err := source.Join(ctx, held)
	if err != nil {
		t.Fatal(err)
	}
	defer joined.Release()
	var rows int
	if err := joined.Session.QueryRow(ctx, "SELECT count(*) FROM public.two").Scan(&rows); err != nil || rows != 1 {
		t.Errorf("the moment is held still: %d rows, %v", rows, err)
	}
}

func TestATableThatIsGoneIsToldOfAsSuch(t *testing.T) {
	server := servertest.Start(t)
	_, held := hold(t, server)
	if err := held.Keep(context.Background(), []string{"public.gone"}); err == nil || !strings.Contains(err.Error(), "was dropped just now") {
		t.Errorf("got %v", err)
	}
}

func TestATableThatSomebodyElseHoldsIsToldOf(t *testing.T) {
	impatient(t)
	server := servertest.Start(t)
	servertest.Do(t, server, "wepppy", "CREATE TABLE public.one (id int)")
	ctx := context.Background()
	lock(t, server)
	_, held := hold(t, server)
	if err := held.Keep(ctx, []string{"public.one"}); err == nil || !strings.Contains(err.Error(), "could not be locked: canceling statement due to lock timeout") {
		t.Errorf("got %v", err)
	}
}

func TestAReaderBehindAChangeThatWaitsForTheMomentGivesUpInsteadOfWaitingForEver(t *testing.T) {
	impatient(t)
	server := servertest.Start(t)
	servertest.Do(t, server, "wepppy", "CREATE TABLE public.one (id int)")
	ctx := context.Background()
	source, held := hold(t, server)
	if err := held.Keep(ctx, []string{"public.one"}); err != nil {
		t.Fatal(err)
	}
	changing := servertest.Session(t, server, "wepppy")
	changed := make(chan error, 1)
	go func() {
		_, err := changing.Exec(ctx, "ALTER TABLE public.one ADD more int")
		changed <- err
	}()
	watching := servertest.Session(t, server, "wepppy")
	for waits := false; !waits; {
		if err := watching.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)").Scan(&waits); err != nil {
			t.Fatal(err)
		}
	}
	joined, err := source.Join(ctx, held)
	if err != nil {
		t.Fatal(err)
	}
	defer joined.Release()
	_, err = joined.Session.Exec(ctx, "SELECT FROM public.one")
	var answer *pgconn.PgError
	if !errors.As(err, &answer) || answer.Code != "55P03" {
		t.Errorf("got %v", err)
	}
	if _, err := held.Session.Exec(ctx, "SELECT FROM public.one"); err != nil {
		t.Errorf("whoever holds the moment reads on: %v", err)
	}
	held.Release()
	if err := <-changed; err != nil {
		t.Error(err)
	}
}

func TestASourceWhoseTableSomebodyHoldsIsRefusedWithTheReason(t *testing.T) {
	impatient(t)
	server := servertest.Start(t)
	servertest.Do(t, server, "wepppy", "CREATE TABLE public.one (id int)")
	ctx := context.Background()
	lock(t, server)
	source, err := Open(ctx, server, "wepppy")
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	if _, err := source.Look(ctx); err == nil || !strings.Contains(err.Error(), "somebody holds a table of the source") {
		t.Errorf("got %v", err)
	}
}
