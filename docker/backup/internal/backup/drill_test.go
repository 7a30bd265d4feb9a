package backup

// Test restores of backups that are really made; package drill itself makes none.

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"wepp.example/backup/internal/drill"
	"wepp.example/backup/internal/event"
	"wepp.example/backup/internal/postgres"
	"wepp.example/backup/internal/scratch"
	"wepp.example/backup/internal/servertest"
	"wepp.example/backup/internal/vault"
)

func TestATestRestoreFindsADumpThatHoldsOtherRowsAndLeavesNothingBehind(t *testing.T) {
	m := filled(t)
	made := backedUp(t, m)
	manifest := made.Manifest
	manifest.Tables["public.run"]++
	if err := vault.WriteManifest(made.Path, manifest); err != nil {
		t.Fatal(err)
	}
	outcome, err := drill.Run(context.Background(), m.Server, "wepppy", made.Path, m.Report)
	if err != nil || outcome.OK || !strings.Contains(outcome.Problem, "public.run has 1001 rows instead of 1002") {
		t.Fatalf("%+v %v", outcome, err)
	}
	flipped, _ := os.ReadFile(made.Path)
	flipped[len(flipped)/2] ^= 1
	if err := os.WriteFile(made.Path, flipped, 0o600); err != nil {
		t.Fatal(err)
	}
	if outcome, err = drill.Run(context.Background(), m.Server, "wepppy", made.Path, m.Report); err != nil || outcome.OK || !strings.Contains(outcome.Problem, "checksum") {
		t.Fatalf("%+v %v", outcome, err)
	}
	session := servertest.Session(t, m.Server, "postgres")
	if left, err := postgres.Strings(context.Background(), session, "SELECT datname::text FROM pg_database WHERE datname ~ 'incoming'"); err != nil || len(left) > 0 {
		t.Fatal(left, err)
	}
}

func TestATestRestoreGivesWayToARestoreAndIsNoVerdictOnTheDump(t *testing.T) {
	// A load that does not end by itself: its index is built with a function that sleeps where the scratch database is.
	m := filled(t,
		`CREATE FUNCTION public.sleeper(number bigint) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS $$
			BEGIN IF current_database() ~ 'incoming' THEN PERFORM pg_sleep(600); END IF; RETURN number; END $$`,
		"CREATE INDEX ON public.run (public.sleeper(id))")
	made := backedUp(t, m)
	watching := servertest.Session(t, m.Server, "postgres")
	const scratches = "SELECT datname::text FROM pg_database WHERE datname ~ 'incoming'"
	ended := make(chan error, 1)
	go func() {
		_, err := drill.Run(context.Background(), m.Server, "wepppy", made.Path, m.Report)
		ended <- err
	}()
	for {
		if found, err := postgres.Strings(context.Background(), watching, scratches); err != nil {
			t.Fatal(err)
		} else if len(found) > 0 {
			break
		}
	}
	if _, err := scratch.TakeForTrial(impatient(t), m.Server, "wepppy", m.Report); err == nil {
		t.Fatal("another test restore interrupted it")
	}
	lock, err := scratch.Take(context.Background(), m.Server, "wepppy", m.Report)
	if err != nil {
		t.Fatal(err)
	}
	told(t, <-ended, event.ExitFailed, "gave way")
	lock.Release()
	if found, err := postgres.Strings(context.Background(), watching, scratches); err != nil || len(found) > 0 {
		t.Fatal(found, err)
	}
}

func impatient(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}
