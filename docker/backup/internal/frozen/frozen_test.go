package frozen

import (
	"context"
	"crypto/rand"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"wepp.example/backup/internal/census"
	"wepp.example/backup/internal/postgres"
	"wepp.example/backup/internal/servertest"
)

const tables = `
CREATE TABLE public."a ""b""" AS SELECT g AS id, repeat('word ', g % 90) AS "from stdin;" FROM generate_series(1, 5000) g;
ALTER TABLE public."a ""b""" ADD PRIMARY KEY (id);
CREATE TABLE public.parent (id int, word text);
CREATE TABLE public.child () INHERITS (public.parent);
INSERT INTO public.parent SELECT g, 'parent' FROM generate_series(1, 3000) g;
INSERT INTO public.child SELECT g, 'child' FROM generate_series(1, 4000) g;
CREATE TABLE public.parted (id int, word text) PARTITION BY LIST (id);
CREATE TABLE public.odds PARTITION OF public.parted FOR VALUES IN (1, 3);
INSERT INTO public.parted SELECT 1, 'one' FROM generate_series(1, 2000) g;
CREATE UNLOGGED TABLE public.unlogged AS SELECT g AS id FROM generate_series(1, 2000) g;
CREATE TABLE public.nothing ();`

// dumped is a dump of a server's database `wepppy` with those tables, and an empty database beside it.
func dumped(t *testing.T, flags ...string) (postgres.Server, string) {
	t.Helper()
	server := servertest.Start(t, "autovacuum=off")
	servertest.Do(t, server, "wepppy", tables)
	servertest.Do(t, server, "postgres", "CREATE DATABASE beside TEMPLATE template0")
	dump := filepath.Join(t.TempDir(), "x.dump")
	run(t, server, "pg_dump", append(flags, "--format=custom", "--file="+dump, "wepppy")...)
	return server, dump
}

func run(t *testing.T, server postgres.Server, program string, args ...string) {
	t.Helper()
	if told, err := server.Command(context.Background(), program, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", program, err, told)
	}
}

// restore loads the dump by the way, and returns the tables whose rows are not frozen: no page of theirs is noted to hold
// nothing but rows that everybody sees. (Even of frozen rows not all are, for a table has empty pages in reserve.)
func restore(t *testing.T, server postgres.Server, dump string, flags ...string) []string {
	t.Helper()
	ctx := context.Background()
	way, err := Open(ctx, server)
	if err != nil {
		t.Fatal(err)
	}
	defer way.Close()
	run(t, way.Server, "pg_restore", append(flags, "--exit-on-error", "--dbname=beside", dump)...)
	servertest.Do(t, server, "beside", "ANALYZE")
	found, err := postgres.Strings(ctx, servertest.Session(t, server, "beside"), `SELECT relname::text FROM pg_class
		WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relpages > 0 AND relallvisible = 0 ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestAllRowsThatPgRestoreLoadsOnThisWayAreFrozenAndTheSame(t *testing.T) {
	server, dump := dumped(t)
	if loose := restore(t, server, dump, "--jobs=3"); len(loose) > 0 {
		t.Errorf("not frozen: %s", loose)
	}
	same(t, server)
}

func TestWhatPgRestoreDoesNotEmptyComesAsItAlwaysDid(t *testing.T) {
	server, dump := dumped(t)
	loose := strings.Join(restore(t, server, dump, "--jobs=1"), " ")
	if loose != `a "b" child odds parent unlogged` {
		t.Errorf("not frozen: %s", loose)
	}
	same(t, server)
}

func TestRowsThatComeInAtAPartitionedTableAreTakenThere(t *testing.T) {
	server, dump := dumped(t, "--load-via-partition-root")
	if loose := strings.Join(restore(t, server, dump, "--jobs=2"), " "); loose != "odds" {
		t.Errorf("not frozen: %s", loose)
	}
	same(t, server)
}

func same(t *testing.T, server postgres.Server) {
	t.Helper()
	var counts [2]census.Counts
	for i, database := range []string{"wepppy", "beside"} {
		var err error
		if counts[i], err = census.Count(context.Background(), servertest.Session(t, server, database)); err != nil {
			t.Fatal(err)
		}
	}
	if differences := counts[0].Differences(counts[1]); len(differences) > 0 || counts[0].Rows() == 0 {
		t.Errorf("%d rows: %s", counts[0].Rows(), differences)
	}
}

func TestARefusalOfTheServerReachesPgRestoreInItsOwnWords(t *testing.T) {
	server, dump := dumped(t)
	way, err := Open(context.Background(), server)
	if err != nil {
		t.Fatal(err)
	}
	defer way.Close()
	told, err := way.Server.Command(context.Background(), "pg_restore", "--dbname=nowhere", dump).CombinedOutput()
	if err == nil || !strings.Contains(string(told), `FATAL:  database "nowhere" does not exist`) {
		t.Errorf("%v: %s", err, told)
	}
}

func TestNobodyFindsTheWayOnceItIsClosed(t *testing.T) {
	way, err := Open(context.Background(), postgres.Server{Host: t.TempDir(), Port: "5432"})
	if err != nil {
		t.Fatal(err)
	}
	address := way.listener.Addr().String()
	if asked, err := net.Dial("unix", address); err != nil {
		t.Errorf("it should be open: %v", err)
	} else {
		asked.Close()
	}
	way.Close()
	if asked, err := net.Dial("unix", address); err == nil {
		asked.Close()
		t.Error("it is open still")
	}
}

func TestOnlyProgramsOfTheSameUserAreLetIn(t *testing.T) {
	name := prefix + rand.Text()
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: name, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	asked, err := net.Dial("unix", name)
	if err != nil {
		t.Fatal(err)
	}
	defer asked.Close()
	client, err := listener.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if !from(client, os.Getuid()) {
		t.Error("this test has one user")
	}
	if from(client, os.Getuid()+1) {
		t.Error("that is another user")
	}
}
