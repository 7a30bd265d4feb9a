package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"wepp.example/backup/internal/archive"
	"wepp.example/backup/internal/census"
	"wepp.example/backup/internal/drill"
	"wepp.example/backup/internal/event"
	"wepp.example/backup/internal/postgres"
	"wepp.example/backup/internal/servertest"
	"wepp.example/backup/internal/texttest"
	"wepp.example/backup/internal/vault"
)

var noon = time.Date(2026, 3, 29, 12, 0, 0, 0, time.UTC)

const contents = `
SET search_path = public;
CREATE ROLE clerk LOGIN PASSWORD 'unread';
CREATE TABLE alembic_version (version_num text); INSERT INTO alembic_version VALUES ('4f1c7a90d2e6');
CREATE TABLE run (id int PRIMARY KEY, note text); INSERT INTO run SELECT g, E'two\nlines \\. ' || g FROM generate_series(1, 1000) g;
CREATE TABLE "Odd.""name" (id int); INSERT INTO "Odd.""name" VALUES (1), (2); ALTER TABLE "Odd.""name" OWNER TO clerk;
CREATE TABLE nothing (); INSERT INTO nothing DEFAULT VALUES;
CREATE TABLE parted (id int) PARTITION BY RANGE (id); CREATE TABLE low PARTITION OF parted FOR VALUES FROM (0) TO (10); INSERT INTO parted VALUES (1);
CREATE UNLOGGED TABLE unlogged (id int); INSERT INTO unlogged VALUES (1);
CREATE MATERIALIZED VIEW stale AS SELECT count(*) FROM run; INSERT INTO run VALUES (1001, 'after the view');
SELECT lo_from_bytea(0, 'large');`

func maker(t *testing.T, server postgres.Server) Maker {
	t.Helper()
	return Maker{
		Server: server, Vault: vault.Vault{Folder: t.TempDir(), Database: "wepppy"}, Report: event.New(io.Discard, false, time.Now),
		Now: func() time.Time { return noon }, Free: func(string) (int64, error) { return 1 << 40, nil },
	}
}

// filled gives a maker of backups of a server whose database holds the contents and more.
func filled(t *testing.T, more ...string) Maker {
	t.Helper()
	server := servertest.Start(t)
	servertest.Do(t, server, "wepppy", append([]string{contents}, more...)...)
	return maker(t, server)
}

func backedUp(t *testing.T, m Maker) Made {
	t.Helper()
	made, err := m.Make(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func files(t *testing.T, m Maker) []string {
	t.Helper()
	entries, err := os.ReadDir(m.Vault.Folder)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, each := range entries {
		if each.Name() != ".lock" {
			found = append(found, each.Name())
		}
	}
	return found
}

func told(t *testing.T, err error, exit int, words ...string) {
	t.Helper()
	var problem *event.Problem
	if !errors.As(err, &problem) || problem.Exit != exit {
		t.Fatalf("wanted a problem with exit %d, got %v", exit, err)
	}
	texttest.Holds(t, problem.What, words...)
}

func TestABackupIsVerifiedTellsWhatItHoldsAndCanBeRestored(t *testing.T) {
	m := filled(t)
	made := backedUp(t, m)
	want := []string{
		"wepppy-20260329-120000.dump", "wepppy-20260329-120000.dump.globals.sql",
		"wepppy-20260329-120000.dump.json", "wepppy-20260329-120000.dump.sha256",
	}
	if found := files(t, m); !slices.Equal(found, want) {
		t.Fatalf("%q", found)
	}
	entries, err := m.Vault.List()
	if err != nil || len(entries) != 1 || !entries[0].Verified {
		t.Fatalf("%+v %v", entries, err)
	}
	manifest := *entries[0].Manifest
	if manifest.Rows != 1007 || manifest.Tables["public.run"] != 1001 || manifest.Tables[`public."Odd.""name"`] != 2 ||
		manifest.Views["public.stale"] != 1 || manifest.LargeObjects != 1 || manifest.Revision != "4f1c7a90d2e6" ||
		!slices.Equal(manifest.Roles, []string{"clerk", "wepppy"}) || manifest.Extensions["plpgsql"] == "" || manifest.ClientVersion != manifest.ServerVersion ||
		manifest.Bytes != made.Bytes || !manifest.Created.Equal(noon) {
		t.Fatalf("%+v", manifest)
	}
	if sum, err := archive.Sum(context.Background(), made.Path, nil); err != nil || sum != manifest.SHA256 {
		t.Fatal(sum, err)
	}
	if told, err := exec.Command("sh", "-c", "cd "+m.Vault.Folder+" && sha256sum --check --strict *.sha256").CombinedOutput(); err != nil {
		t.Fatalf("%s", told)
	}
	globals, err := os.ReadFile(made.Path + vault.GlobalsSuffix)
	if err != nil || !strings.Contains(string(globals), "CREATE ROLE clerk") || !strings.Contains(string(globals), "SCRAM-SHA-256") {
		t.Fatalf("%s %v", globals, err)
	}
	for _, name := range want {
		if status, _ := os.Stat(m.Vault.Path(name)); status.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %s", name, status.Mode())
		}
	}
	if mode, err := m.Vault.DumpMode(); err != nil || mode != 0o600 {
		t.Errorf("in a folder that others enter: %s, %v", mode, err)
	}
	outcome, err := drill.Run(context.Background(), m.Server, "wepppy", made.Path, m.Report)
	if err != nil || !outcome.OK || outcome.Rows != 1007 {
		t.Fatalf("%+v %v", outcome, err)
	}
}

func TestOnlyTheDumpItselfIsReadableForOthersInAFolderThatIsClosedToThem(t *testing.T) {
	m := filled(t)
	if err := os.Chmod(m.Vault.Folder, 0o700); err != nil {
		t.Fatal(err)
	}
	made := backedUp(t, m)
	for suffix, wanted := range map[string]os.FileMode{"": 0o644, vault.ChecksumSuffix: 0o600, vault.ManifestSuffix: 0o600, vault.GlobalsSuffix: 0o600} {
		status, err := os.Stat(made.Path + suffix)
		if err != nil || status.Mode().Perm() != wanted {
			t.Errorf("%s: %v %v", suffix, status, err)
		}
	}
}

func TestWritersDoNotDisturbTheCount(t *testing.T) {
	m := filled(t, "INSERT INTO public.run SELECT g, repeat(md5(g::text), 20) FROM generate_series(2000, 80000) g")
	stop := make(chan struct{})
	written := make(chan struct{})
	session := servertest.Session(t, m.Server, "wepppy")
	go func() {
		defer close(written)
		for id := 1000000; ; id++ {
			select {
			case <-stop:
				return
			default:
				session.Exec(context.Background(), fmt.Sprintf("INSERT INTO public.run VALUES (%d, 'x'); DELETE FROM public.run WHERE id = %d", id, id-900000)) //nolint:errcheck // shown below
			}
		}
	}()
	made, err := m.Make(context.Background())
	close(stop)
	<-written
	if err != nil {
		t.Fatal(err)
	}
	if outcome, err := drill.Run(context.Background(), m.Server, "wepppy", made.Path, m.Report); err != nil || !outcome.OK {
		t.Fatalf("%+v %v", outcome, err)
	}
}

func TestTwoBackupsInOneSecondHaveTwoNames(t *testing.T) {
	server := servertest.Start(t)
	m := maker(t, server)
	first := backedUp(t, m)
	second, err := m.Make(context.Background())
	if err != nil || first.Name == second.Name {
		t.Fatal(first.Name, second.Name, err)
	}
}

func TestABackupWaitsForTheOneThatIsBeingMade(t *testing.T) {
	server := servertest.Start(t)
	m := maker(t, server)
	release, err := m.Vault.Lock(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := m.Make(context.Background())
		ended <- err
	}()
	select {
	case err := <-ended:
		t.Fatalf("it did not wait: %v", err)
	case <-time.After(time.Second):
	}
	if found := files(t, m); found != nil {
		t.Fatalf("%q", found)
	}
	release()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

func TestABackupThatIsCalledOffLeavesNothing(t *testing.T) {
	m := filled(t, "INSERT INTO public.run SELECT g, string_agg(md5(random()::text), '') FROM generate_series(2000, 40000) g, generate_series(1, 40) GROUP BY g")
	for _, after := range []time.Duration{0, 20 * time.Millisecond, 100 * time.Millisecond, 300 * time.Millisecond} {
		ctx, cancel := context.WithTimeout(context.Background(), after)
		_, err := m.Make(ctx)
		cancel()
		if err == nil {
			t.Logf("it was done in %s", after)
			break
		}
		if found := files(t, m); found != nil {
			t.Fatalf("after %s: %q", after, found)
		}
	}
}

func TestASessionThatHoldsATableIsWaitedForNoLongerThanThePatience(t *testing.T) {
	m := filled(t)
	holder := servertest.Session(t, m.Server, "wepppy")
	if _, err := holder.Exec(context.Background(), "BEGIN; LOCK TABLE public.run"); err != nil {
		t.Fatal(err)
	}
	patience := lockPatience
	lockPatience = 200 * time.Millisecond
	defer func() { lockPatience = patience }()
	_, err := m.Make(context.Background())
	told(t, err, event.ExitFailed, "a table was locked for more than 200ms")
}

func TestAServersFullDiskIsNotThatOfTheBackups(t *testing.T) {
	m := maker(t, postgres.Server{})
	program := exec.Command("pg_dump")
	ended := errors.New("exit status 1")
	of := func(words string) error {
		return m.explained(context.Background(), failed(program, "pg_dump: error: "+words+"\npg_dump: detail: Query was: SELECT 1\n", ended))
	}
	told(t, of("query failed: ERROR:  could not write to file \"base/pgsql_tmp/1\": No space left on device"), event.ExitFailed, "the server's disk is full")
	told(t, of("could not write to output file: No space left on device"), event.ExitFailed, "the disk of the backups")
	told(t, of("query failed: ERROR:  could not resize shared memory segment \"/PostgreSQL.1\" to 16 bytes: No space left on device"), event.ExitFailed, "the server's shared memory is full")
	unstarted := &fs.PathError{Op: "fork/exec", Path: "/usr/bin/pg_dump", Err: syscall.EAGAIN}
	told(t, m.explained(context.Background(), unstarted), event.ExitFailed, "no backup was made: fork/exec")
	unwritable := &fs.PathError{Op: "open", Path: m.Vault.Path("x"), Err: syscall.EROFS}
	told(t, m.explained(context.Background(), unwritable), event.ExitFailed, "cannot be used: read-only file system")
}

func TestAServerThatIsAwayIsToldAndNothingIsWritten(t *testing.T) {
	m := maker(t, postgres.Server{Host: "127.0.0.1", Port: "1", User: "wepppy"})
	_, err := m.Make(context.Background())
	told(t, err, event.ExitRefused, "no server answers at 127.0.0.1:1")
	if found := files(t, m); found != nil {
		t.Fatalf("%q", found)
	}
}

func TestADumpWithOtherRowsThanItsSnapshotIsThrownAway(t *testing.T) {
	counts := census.Counts{Tables: map[string]int64{"public.a": 2, "public.\"odd\nname\"": 5}}
	if err := compare(counts, map[string]int64{"public.a": 2, "ext.config": 7}); err != nil {
		t.Fatal(err)
	}
	told(t, compare(counts, map[string]int64{"public.a": 1}), event.ExitFailed, "holds 1 rows of public.a and the database has 2")
	told(t, compare(counts, map[string]int64{}), event.ExitFailed, "holds 0 rows")
}
