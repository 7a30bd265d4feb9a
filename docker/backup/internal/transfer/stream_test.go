package transfer

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"wepp.example/backup/internal/census"
	"wepp.example/backup/internal/event"
	"wepp.example/backup/internal/postgres"
	"wepp.example/backup/internal/scratch"
	"wepp.example/backup/internal/servertest"
	"wepp.example/backup/internal/source"
)

// definitions of tables that travel, and what is in them.
const definitions = `
CREATE DOMAIN public.share AS numeric CHECK (VALUE <= 1);
CREATE DOMAIN public.classes AS regclass[];
CREATE TYPE public.text AS ENUM ('no', 'text');
CREATE TABLE public.alike (a bool, b bytea, c "char", d date, e float4, f float8, g int2, h int4, i int8, j interval, k json, l jsonb,
	m name, n numeric(30, 10), o text, p time, q timestamp, r timestamptz, s timetz, t uuid, u varchar(5), v char(9), w text[], x numeric[][], y jsonb[]);
CREATE TABLE public.unlike (class regclass, mine public.text, part public.share, parts public.share[], page xml, place point, span int4range, bits bit varying);
CREATE TABLE public."odd ""name"" * ? |" ("the ""column""" int, gone int, twice int GENERATED ALWAYS AS (2 * "the ""column""") STORED, id int GENERATED ALWAYS AS IDENTITY);
ALTER TABLE public."odd ""name"" * ? |" DROP COLUMN gone;
CREATE TABLE public.parent (id int, word text);
CREATE TABLE public.child (more int) INHERITS (public.parent);
CREATE TABLE public.parted (id int, word text) PARTITION BY LIST (id);
CREATE TABLE public.odds (word text, id int);
ALTER TABLE public.parted ATTACH PARTITION public.odds FOR VALUES IN (1, 3);
CREATE TABLE public.many (id int, word text);
CREATE TABLE public.nothing (id int);`

const contents = `
INSERT INTO public.alike VALUES (true, '\x00ff', 'x', '-infinity', '-0', 'NaN', -32768, 2147483647, -9223372036854775808, '-1 mon 3 days 04:05:06.000007',
	'{"b" : 1,  "a": 2, "a": 3}', '{"b": 1.00, "a": "\u00fc"}', 'name', 'NaN', E'tab\t newline\n \\. \\N ü', '24:00', 'infinity', '2026-03-29 01:30+00', '23:59:59+14',
	'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'ü  ', 'blank  ', ARRAY['', NULL, 'x'], ARRAY[[1.10], [2]], ARRAY['{}'::jsonb]);
INSERT INTO public.alike (a) VALUES (NULL), (false);
INSERT INTO public.unlike VALUES ('public.alike', 'text', 0.50, ARRAY[0.1, 1]::public.share[], '<a b="1"/>', '(1,2)', '[1,5)', B'101');
INSERT INTO public.unlike (mine) VALUES (NULL);
INSERT INTO public."odd ""name"" * ? |" ("the ""column""") VALUES (1), (NULL), (3);
INSERT INTO public.parent VALUES (1, 'parent'); INSERT INTO public.child VALUES (2, 'child', 3);
INSERT INTO public.parted VALUES (1, 'one'), (3, NULL);
INSERT INTO public.many SELECT g, repeat('word ', g % 50) FROM generate_series(1, 100000) g;`

// between gives a move from the database `wepppy` of a server to a new one beside it, whose tables are there and empty.
func between(t *testing.T) *run {
	t.Helper()
	limit := streamBytes
	streamBytes = 0
	t.Cleanup(func() { streamBytes = limit })
	server := servertest.Start(t)
	servertest.Do(t, server, "wepppy", definitions, contents)
	ctx := context.Background()
	report := event.New(new(bytes.Buffer), true, time.Now)
	lock, err := scratch.Take(ctx, server, "wepppy", report)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(lock.Release)
	made := &run{Move: &Move{Source: &source.Source{Server: server, Database: "wepppy"}, Target: server, Jobs: 3, Report: report}, lock: lock}
	if made.incoming, err = scratch.Create(ctx, lock, scratch.Locale{}); err != nil {
		t.Fatal(err)
	}
	servertest.Do(t, server, made.incoming.Name, definitions)
	return made
}

func (r *run) streamAll(t *testing.T, with ...func(table stream) stream) error {
	t.Helper()
	held, err := r.Source.Hold(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer held.Release()
	found, err := streams(context.Background(), held.Session)
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range with {
		for i := range found {
			found[i] = change(found[i])
		}
	}
	// What is written from here on belongs to another moment.
	servertest.Do(t, r.Target, "wepppy", "INSERT INTO public.nothing VALUES (1)")
	return r.stream(context.Background(), held, found)
}

func hashes(t *testing.T, server postgres.Server, database string) census.Hashes {
	t.Helper()
	found, err := census.Hash(context.Background(), servertest.Session(t, server, database))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestRowsOfEveryTypeTravelAsTheyWereInTheHeldMoment(t *testing.T) {
	for name, with := range map[string]func(stream) stream{
		"as they go":  func(table stream) stream { return table },
		"all as text": func(table stream) stream { table.Binary = false; return table },
	} {
		t.Run(name, func(t *testing.T) {
			r := between(t)
			before := hashes(t, r.Target, "wepppy")
			if err := r.streamAll(t, with); err != nil {
				t.Fatal(err)
			}
			after := hashes(t, r.Target, r.incoming.Name)
			if !maps.Equal(before.Tables, after.Tables) {
				t.Fatalf("before %v, after %v", before.Tables, after.Tables)
			}
			if rows := after.Tables["public.many"].Rows; rows != 100000 {
				t.Fatalf("%d rows of many: %v", rows, after.Tables)
			}
		})
	}
}

func TestWhatHasTheSameBinaryFormEverywhereTravelsInIt(t *testing.T) {
	r := between(t)
	found, err := streams(context.Background(), servertest.Session(t, r.Target, "wepppy"))
	if err != nil {
		t.Fatal(err)
	}
	binary := map[string]bool{}
	for _, each := range found {
		binary[each.Called] = each.Binary
	}
	for name, wanted := range map[string]bool{"public.alike": true, "public.unlike": false, "public.odds": true, `public.odd "name" * ? |`: true} {
		if got, there := binary[name]; !there || got != wanted {
			t.Errorf("%s: binary %t, there %t", name, got, there)
		}
	}
}

func TestEachTypeThatIsNotAlikeMakesItsTableTravelAsText(t *testing.T) {
	r := between(t)
	for _, kind := range []string{"oid", "regclass", "regclass[]", "public.text", "public.text[]", "public.share", "public.share[]", "public.classes", "xml", "point", "public.alike", "int4range", "tsvector"} {
		servertest.Do(t, r.Target, "wepppy", "CREATE TABLE public.one (id int, it "+kind+")")
		found, err := streams(context.Background(), servertest.Session(t, r.Target, "wepppy"))
		if err != nil {
			t.Fatal(err)
		}
		at := slices.IndexFunc(found, func(each stream) bool { return each.Called == "public.one" })
		if at < 0 || found[at].Binary {
			t.Errorf("%s: %d, %v", kind, at, found)
		}
		servertest.Do(t, r.Target, "wepppy", "DROP TABLE public.one")
	}
}

func TestWhatPgDumpKnowsMoreOfIsLeftToIt(t *testing.T) {
	r := between(t)
	servertest.Do(t, r.Target, "wepppy", `
		CREATE TABLE public.guarded (id int); ALTER TABLE public.guarded ENABLE ROW LEVEL SECURITY;
		CREATE TABLE public.spread (id int) PARTITION BY HASH (id);
		CREATE TABLE public.spread_0 PARTITION OF public.spread FOR VALUES WITH (MODULUS 1, REMAINDER 0) PARTITION BY LIST (id);
		CREATE TABLE public.spread_0_1 PARTITION OF public.spread_0 DEFAULT;
		CREATE TABLE public.extended (id int); ALTER EXTENSION plpgsql ADD TABLE public.extended;
		CREATE UNLOGGED TABLE public.unlogged (id int);
		CREATE TABLE public.none ();
		CREATE TABLE public.computed (one int GENERATED ALWAYS AS (1) STORED);
		CREATE MATERIALIZED VIEW public.kept AS SELECT 1 AS one;`)
	found, err := streams(context.Background(), servertest.Session(t, r.Target, "wepppy"))
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, each := range found {
		left = append(left, each.Called)
	}
	slices.Sort(left)
	wanted := []string{"public.alike", "public.child", "public.many", "public.nothing", "public.odd \"name\" * ? |", "public.odds", "public.parent", "public.unlike"}
	if !slices.Equal(left, wanted) {
		t.Errorf("got %q", left)
	}
}

func TestColumnsOfDomainsOverArraysAloneAreNoHindrance(t *testing.T) {
	r := between(t)
	servertest.Do(t, r.Target, "wepppy", "CREATE TABLE public.one (it public.classes)")
	found, err := streams(context.Background(), servertest.Session(t, r.Target, "wepppy"))
	if err != nil || !slices.ContainsFunc(found, func(each stream) bool { return each.Called == "public.one" && !each.Binary }) {
		t.Errorf("%v, %v", found, err)
	}
}

func TestADatabaseThatIsNotInUTF8IsLeftToPgDump(t *testing.T) {
	r := between(t)
	servertest.Do(t, r.Target, "postgres", "CREATE DATABASE bytes ENCODING 'SQL_ASCII' LOCALE 'C' LOCALE_PROVIDER libc TEMPLATE template0")
	servertest.Do(t, r.Target, "bytes", "CREATE TABLE public.one (id int)")
	found, err := streams(context.Background(), servertest.Session(t, r.Target, "bytes"))
	if err != nil || len(found) > 0 {
		t.Errorf("%v, %v", found, err)
	}
}

func TestNamesAreQuotedThatOnlyTheOtherServerReserves(t *testing.T) {
	r := between(t)
	servertest.Do(t, r.Target, "wepppy", "CREATE SCHEMA later", "CREATE TABLE later.word (usual int)")
	found, err := streams(context.Background(), servertest.Session(t, r.Target, "wepppy"))
	if err != nil || !slices.ContainsFunc(found, func(each stream) bool { return each.Name == `"later"."word"` && each.Columns == `"usual"` }) {
		t.Errorf("%v, %v", found, err)
	}
}

func TestASmallTableStaysInTheDump(t *testing.T) {
	r := between(t)
	streamBytes = 1 << 20
	found, err := streams(context.Background(), servertest.Session(t, r.Target, "wepppy"))
	if err != nil || len(found) != 1 || found[0].Called != "public.many" {
		t.Errorf("%v, %v", found, err)
	}
}

func TestRowsComeFrozenSoThatNoReaderHasToMarkThem(t *testing.T) {
	r := between(t)
	if err := r.streamAll(t); err != nil {
		t.Fatal(err)
	}
	servertest.Do(t, r.Target, r.incoming.Name, "CREATE EXTENSION pg_visibility SCHEMA public")
	var frozen, pages int
	err := servertest.Session(t, r.Target, r.incoming.Name).QueryRow(context.Background(),
		"SELECT all_frozen, pg_relation_size('public.many') / 8192 FROM public.pg_visibility_map_summary('public.many')").Scan(&frozen, &pages)
	if err != nil || frozen < pages-1 || pages < 100 {
		t.Errorf("%d of %d pages are frozen: %v", frozen, pages, err)
	}
}

func TestATableWhoseRowsAreNotTakenIsNamedWithTheServersReason(t *testing.T) {
	r := between(t)
	servertest.Do(t, r.Target, r.incoming.Name, "ALTER TABLE public.many ADD CHECK (id < 99999)")
	err := r.streamAll(t)
	var problem *event.Problem
	if !errors.As(err, &problem) || problem.Exit != event.ExitFailed || !strings.Contains(problem.What, "rows of public.many could not be copied") || !strings.Contains(problem.What, "check constraint") {
		t.Errorf("got %v", err)
	}
}

func TestAServerThatShutsOnTheWayIsAFailureAndNoRefusal(t *testing.T) {
	for name, shut := range map[string]func(r *run){
		"the source lets nobody in any more":         func(r *run) { r.Source.Server.Host = "/nowhere" },
		"the stack's server lets nobody in any more": func(r *run) { r.incoming.Name = "gone" },
	} {
		r := between(t)
		held, err := r.Source.Hold(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		defer held.Release()
		shut(r)
		err = r.stream(context.Background(), held, []stream{{Name: "public.many", Columns: "id"}})
		var problem *event.Problem
		if !errors.As(err, &problem) || problem.Exit != event.ExitFailed || !strings.Contains(problem.What, name) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestATableThatTheSourceDoesNotGiveIsNamedWithTheSourcesReason(t *testing.T) {
	r := between(t)
	err := r.streamAll(t, func(table stream) stream {
		if table.Called == "public.many" {
			table.Columns = `id, "no such column"`
		}
		return table
	})
	var problem *event.Problem
	if !errors.As(err, &problem) || !strings.Contains(problem.What, "rows of public.many could not be copied") || !strings.Contains(problem.What, "no such column") {
		t.Errorf("got %v", err)
	}
}
