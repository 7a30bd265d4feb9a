package archive

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"wepp.example/backup/internal/postgres"
	"wepp.example/backup/internal/servertest"
)

// Names and texts that look like what is changed.
const confusing = `
CREATE TABLE public.plain (id int PRIMARY KEY, word text); INSERT INTO public.plain SELECT n, 'x' || n FROM generate_series(1, 5000) n;
CREATE TABLE public."COPY public.plain (id) FROM stdin;
" ("a FROM stdin;
" text); INSERT INTO public."COPY public.plain (id) FROM stdin;
" VALUES (E'COPY public.plain (id) FROM stdin;\n');
CREATE TABLE public.parted (id int) PARTITION BY RANGE (id); CREATE TABLE public.low PARTITION OF public.parted FOR VALUES FROM (0) TO (10);
INSERT INTO public.parted VALUES (1);
CREATE TABLE public.none ();
CREATE FUNCTION public.copies() RETURNS text LANGUAGE sql AS E'SELECT ''COPY public.plain (id) FROM stdin;\n''::text';
COMMENT ON TABLE public.plain IS E'COPY public.plain (id) FROM stdin;\n';
SELECT lo_from_bytea(0, 'COPY public.plain (id) FROM stdin;');`

func dumped(t *testing.T, server postgres.Server, options ...string) string {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "dump")
	program(t, server, "pg_dump", append(options, "--format=directory", "--jobs=2", "--file="+folder, "wepppy")...)
	return folder
}

func program(t *testing.T, server postgres.Server, name string, arguments ...string) string {
	t.Helper()
	command := exec.Command(name, append([]string{"--host=" + server.Host, "--port=" + server.Port, "--username=" + server.User}, arguments...)...)
	told, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %s", name, arguments, told)
	}
	return string(told)
}

func TestAFrozenDumpLoadsTheSameRowsAndNoReaderHasToMarkThem(t *testing.T) {
	server := servertest.Start(t)
	servertest.Do(t, server, "wepppy", confusing)
	folder := dumped(t, server)
	if err := Freeze(folder); err != nil {
		t.Fatal(err)
	}
	if list, _ := os.ReadDir(folder); len(list) == 0 || strings.Contains(list[len(list)-1].Name(), "frozen") {
		t.Fatal(list)
	}
	servertest.Do(t, server, "wepppy", "CREATE DATABASE other TEMPLATE template0")
	program(t, server, "pg_restore", "--jobs=2", "--exit-on-error", "--dbname=other", folder)
	if before, after := program(t, server, "pg_dump", "wepppy"), program(t, server, "pg_dump", "other"); statements(before) != statements(after) {
		t.Fatalf("before\n%s\nafter\n%s", before, after)
	}
	// A page that was filled in two batches is not marked, its rows are.
	servertest.Do(t, server, "other", "ANALYZE")
	session := servertest.Session(t, server, "other")
	var open []string
	err := session.QueryRow(context.Background(), `SELECT coalesce(array_agg(relname::text), '{}') FROM pg_class
		WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relallvisible * 2 < relpages`).Scan(&open)
	if err != nil || len(open) > 0 {
		t.Fatalf("not frozen: %q, %v", open, err)
	}
}

// statements without what differs between any two dumps (CVE-2025-8714).
func statements(dump string) string {
	var kept []string
	for line := range strings.Lines(dump) {
		if !strings.HasPrefix(line, `\restrict`) && !strings.HasPrefix(line, `\unrestrict`) && !strings.HasPrefix(line, "--") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

func TestRowsWhoseTablesAreNotInTheDumpAreLoadedAsTheyWere(t *testing.T) {
	server := servertest.Start(t)
	servertest.Do(t, server, "wepppy", confusing)
	folder := dumped(t, server, "--data-only")
	before := table(t, folder)
	if err := Freeze(folder); err != nil || !bytes.Equal(before, table(t, folder)) {
		t.Fatal(err)
	}
}

func TestATableOfContentsThatIsNotUnderstoodIsLeftAsItIs(t *testing.T) {
	server := servertest.Start(t)
	servertest.Do(t, server, "wepppy", confusing)
	whole := table(t, dumped(t, server))
	changed, found := frozen(whole)
	if !found || bytes.Count(changed, []byte("WITH (FREEZE)")) != 4 {
		t.Fatal(found, bytes.Count(changed, []byte("WITH (FREEZE)")))
	}
	for length := range len(whole) {
		if _, found := frozen(whole[:length]); found {
			t.Fatalf("the first %d of %d bytes were understood", length, len(whole))
		}
	}
	if _, found := frozen(append(bytes.Clone(whole), 0)); found {
		t.Fatal("a byte too much was overlooked")
	}
	older := bytes.Clone(whole)
	older[6] = 15
	if _, found := frozen(older); found {
		t.Fatal("another version was taken for this one")
	}
}

func FuzzATableOfContentsOfAnyBytesDoesNoHarm(f *testing.F) {
	f.Add([]byte("PGDMP\x01\x10\x00\x04\x08\x03\x00"))
	f.Fuzz(func(t *testing.T, data []byte) { frozen(data) })
}

func table(t *testing.T, folder string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(folder, "toc.dat"))
	if err != nil {
		t.Fatal(err)
	}
	return data
}
