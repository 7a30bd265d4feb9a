package census

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"wepp.example/backup/internal/servertest"
)

// Everything that a table can be, and what is none.
const zoo = `
SET search_path = public;
CREATE TABLE plain (id int PRIMARY KEY, r text, wepp text); INSERT INTO plain SELECT g, 'x' || g, NULL FROM generate_series(1, 10) g;
CREATE TABLE nothing (); INSERT INTO nothing DEFAULT VALUES;
CREATE TABLE parent (id int); CREATE TABLE child () INHERITS (parent); INSERT INTO parent VALUES (1); INSERT INTO child VALUES (2), (3);
CREATE TABLE parted (id int) PARTITION BY RANGE (id); CREATE TABLE low PARTITION OF parted FOR VALUES FROM (0) TO (10);
CREATE TABLE high PARTITION OF parted FOR VALUES FROM (10) TO (20); INSERT INTO parted VALUES (1), (11), (12);
CREATE UNLOGGED TABLE unlogged (id int); INSERT INTO unlogged VALUES (1);
CREATE TEMPORARY TABLE passing (id int);
CREATE TABLE guarded (id int); INSERT INTO guarded VALUES (1); ALTER TABLE guarded ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE MATERIALIZED VIEW seen AS SELECT * FROM plain; CREATE MATERIALIZED VIEW unseen AS SELECT * FROM plain WITH NO DATA;
CREATE VIEW view AS SELECT * FROM plain;
CREATE SCHEMA "Odd.""schema"; CREATE TABLE "Odd.""schema"."a b" (id int GENERATED ALWAYS AS IDENTITY, twice int GENERATED ALWAYS AS (1 + 1) STORED);
INSERT INTO "Odd.""schema"."a b" DEFAULT VALUES;
CREATE SEQUENCE numbers; SELECT nextval('numbers');
SELECT lo_from_bytea(0, decode(repeat('00ff', 700000), 'hex')); SELECT lo_from_bytea(0, '');`

func TestEveryTableIsCountedOnceAndHashed(t *testing.T) {
	server := servertest.Start(t)
	servertest.Do(t, server, "wepppy", zoo)
	session := servertest.Session(t, server, "wepppy")
	ctx := context.Background()
	counts, err := Count(ctx, session)
	if err != nil {
		t.Fatal(err)
	}
	want := `map["Odd.""schema"."a b":1 public.child:2 public.guarded:1 public.high:2 public.low:1 public.nothing:1 public.parent:1 public.plain:10 public.unlogged:1]`
	if told := fmt.Sprint(counts.Tables); told != want || fmt.Sprint(counts.Views) != "map[public.seen:10]" || counts.LargeObjects != 2 {
		t.Fatalf("%s %v %d", told, counts.Views, counts.LargeObjects)
	}
	hashes, err := Hash(ctx, session)
	if err != nil {
		t.Fatal(err)
	}
	if differences := hashes.Counts().Differences(counts); differences != nil {
		t.Fatal(differences)
	}
	if fmt.Sprint(hashes.Sequences) != `map["Odd.""schema"."a b_id_seq":1, true public.numbers:1, true]` {
		t.Fatal(hashes.Sequences)
	}
}

func TestADatabaseIsFilledFromItsFirstTableOn(t *testing.T) {
	server := servertest.Start(t)
	session := servertest.Session(t, server, "wepppy")
	for sql, want := range map[string]bool{"CREATE VIEW view AS SELECT 1": false, "CREATE TABLE one ()": true} {
		servertest.Do(t, server, "wepppy", "SET search_path = public; DROP TABLE IF EXISTS one; "+sql)
		if filled, err := Filled(context.Background(), session); err != nil || filled != want {
			t.Fatalf("%s: %t, %v", sql, filled, err)
		}
	}
}

func TestTheSmallestChangeChangesTheHash(t *testing.T) {
	server := servertest.Start(t)
	servertest.Do(t, server, "wepppy", zoo)
	session := servertest.Session(t, server, "wepppy")
	ctx := context.Background()
	before, err := Hash(ctx, session)
	if err != nil {
		t.Fatal(err)
	}
	for change, word := range map[string]string{
		"UPDATE public.plain SET r = 'X1' WHERE id = 1":                                                           "public.plain has other contents",
		"UPDATE public.low SET id = 2":                                                                            "public.low has other contents",
		"SELECT nextval('public.numbers')":                                                                        "public.numbers stands at",
		"SELECT lo_put(oid, 1399999, '\\x00') FROM pg_largeobject_metadata ORDER BY oid LIMIT 1":                  "large objects have other contents",
		"SELECT lo_put(oid, 0, '\\x00') FROM (SELECT oid FROM pg_largeobject_metadata ORDER BY oid DESC LIMIT 1)": "large objects have other contents",
	} {
		if _, err := session.Exec(ctx, "BEGIN; "+change); err != nil {
			t.Fatal(err)
		}
		after, err := Hash(ctx, session)
		if err != nil {
			t.Fatal(err)
		}
		if found := before.Differences(after); len(found) != 1 || !strings.Contains(found[0], word) {
			t.Errorf("%s: %q", change, found)
		}
		if _, err := session.Exec(ctx, "ROLLBACK"); err != nil {
			t.Fatal(err)
		}
		// Sequences do not roll back.
		if strings.Contains(change, "nextval") {
			before, _ = Hash(ctx, session)
		}
	}
}

// oneHash is the hash of a table with the columns and rows given, and what it took to make it is gone again.
func oneHash(t *testing.T, session *pgx.Conn, columns, rows string) TableHash {
	t.Helper()
	ctx := context.Background()
	if _, err := session.Exec(ctx, "BEGIN; CREATE TABLE public.one ("+columns+"); INSERT INTO public.one "+rows); err != nil {
		t.Fatal(err)
	}
	defer session.Exec(ctx, "ROLLBACK") //nolint:errcheck // the test has ended
	hashes, err := Hash(ctx, session)
	if err != nil {
		t.Fatal(err)
	}
	return hashes.Tables["public.one"]
}

func TestRowsThatLookAlikeHashDifferently(t *testing.T) {
	server := servertest.Start(t)
	servertest.Do(t, server, "wepppy", zoo)
	session := servertest.Session(t, server, "wepppy")
	for columns, rows := range map[string][]string{
		"a text, b text": {
			"VALUES ('x', NULL)", "VALUES (NULL, 'x')", "VALUES ('x', '')", "VALUES ('', 'x')", "VALUES (NULL, NULL)",
			"VALUES ('', '')", "VALUES ('t', 'x')", "VALUES ('f', 'x')", "VALUES ('x', 'x')", "VALUES ('xx', '')",
		},
		"a text, b int": {
			"VALUES ('x', 1), ('y', 2)", "VALUES ('x', 2), ('y', 1)", "VALUES ('x', 1), ('y', NULL)", "VALUES ('x', NULL), ('y', 1)",
		},
		"a int, b int8, c int2": {
			"VALUES (1, 2, 3), (4, 5, 6)", "VALUES (1, 5, 3), (4, 2, 6)", "VALUES (1, 2, 6), (4, 5, 3)", "VALUES (2, 1, 3), (4, 5, 6)",
			"VALUES (1, NULL, 3), (4, 5, 6)", "VALUES (NULL, 1, 3), (4, 5, 6)", "VALUES (1, 3, NULL), (4, 5, 6)", "VALUES (1, -2, 3), (4, 5, 6)",
		},
		// The hash function alone finds none of these different.
		"a int8":                               {"VALUES (1)", "VALUES (4294967296)", "VALUES (-2)", "VALUES (NULL)", "VALUES (-1)", "VALUES (0)"},
		"a bool":                               {"VALUES (true)", "VALUES (false)", "VALUES (NULL)"},
		"a uuid":                               {"VALUES ('00000000-0000-0000-0000-000000000000')", "VALUES ('00000000-0000-0000-0000-000000000001')", "VALUES (NULL)"},
		"a timestamp":                          {"VALUES ('2026-01-01')", "VALUES ('2026-01-01 00:00:00.000001')", "VALUES ('infinity')", "VALUES ('-infinity')", "VALUES (NULL)"},
		"a timestamptz":                        {"VALUES ('2026-01-01')", "VALUES ('2026-01-01 00:00:00.000001')", "VALUES ('infinity')", "VALUES ('-infinity')", "VALUES (NULL)"},
		"a varchar(9)":                         {"VALUES ('x')", "VALUES ('x ')", "VALUES ('')", "VALUES (NULL)"},
		"a char(3)":                            {"VALUES ('x')", "VALUES ('y')", "VALUES (NULL)", "VALUES ('')"},
		"a char(3), b char(4)":                 {"VALUES ('x', 'y')", "VALUES ('y', 'x')", "VALUES ('x', NULL)", "VALUES (NULL, 'x')"},
		"a text":                               {"VALUES ('x')", "VALUES ('x ')", "VALUES (NULL)", "VALUES ('')", "VALUES ('x'), ('x')"},
		"a numeric":                            {"VALUES (1)", "VALUES (1.0)", "VALUES (1.00)", "VALUES (NULL)", "VALUES ('NaN')"},
		"a float8":                             {"VALUES (0.1)", "VALUES (0.30000000000000004)", "VALUES (0.3)", "VALUES ('-0')", "VALUES (0)", "VALUES (NULL)"},
		"a json":                               {"VALUES ('{}')", "VALUES ('{ }')", "VALUES ('null')", "VALUES (NULL)"},
		"a jsonb":                              {`VALUES ('{"a": 1}')`, `VALUES ('{"a": 1.0}')`, "VALUES ('null')", "VALUES (NULL)"},
		"a int[]":                              {"VALUES ('{}')", "VALUES ('{NULL}')", "VALUES ('{1,2}')", "VALUES ('{2,1}')", "VALUES ('[0:1]={1,2}')", "VALUES (NULL)"},
		"a bytea":                              {`VALUES ('\\x')`, `VALUES ('\\x00')`, `VALUES ('\\x01')`, "VALUES (NULL)"},
		"a date":                               {"VALUES ('2026-01-01')", "VALUES ('infinity')", "VALUES (NULL)"},
		"a pg_catalog.pg_lsn":                  {"VALUES ('0/1')", "VALUES ('1/0')", "VALUES (NULL)"},
		"a information_schema.cardinal_number": {"VALUES (1)", "VALUES (2)", "VALUES (NULL)"},
		"a public.plain":                       {"VALUES ('(1,,)')", "VALUES ('(,,)')", "VALUES ('(1,\"\",)')", "VALUES (NULL)"},
	} {
		seen := map[TableHash]string{}
		for _, each := range rows {
			hash := oneHash(t, session, columns, each)
			if other, has := seen[hash]; has {
				t.Errorf("%s: %s and %s are the same", columns, other, each)
			}
			seen[hash] = each
		}
	}
}

func TestTheOrderOfTheColumnsAndOfTheRowsDoesNotCount(t *testing.T) {
	session := servertest.Session(t, servertest.Start(t), "wepppy")
	one := oneHash(t, session, `r int, "a ""b" text COLLATE "C", c text COLLATE "POSIX"`, "VALUES (1, 'x', 'y'), (2, NULL, 'z')")
	other := oneHash(t, session, `"a ""b" text, gone int, c text, r int`, "VALUES (NULL, 7, 'z', 2), ('x', 8, 'y', 1); ALTER TABLE public.one DROP gone")
	if one != other {
		t.Fatal(one, other)
	}
}

func TestEachOfTheManyColumnsThatATableMayHaveCounts(t *testing.T) {
	const many = 1600
	session := servertest.Session(t, servertest.Start(t), "wepppy")
	for _, kind := range []string{"smallint", "varchar(1)", "\"char\""} {
		columns, values := make([]string, many), make([]string, many)
		for i := range many {
			columns[i], values[i] = fmt.Sprintf("c%d %s", i, kind), "'1'"
		}
		seen := map[TableHash]int{}
		for _, changed := range []int{-1, 0, 99, 800, many - 1} {
			for _, to := range []string{"'2'", "NULL"} {
				here := slices.Clone(values)
				if changed >= 0 {
					here[changed] = to
				}
				seen[oneHash(t, session, strings.Join(columns, ", "), "VALUES ("+strings.Join(here, ", ")+")")]++
			}
		}
		if len(seen) != 9 {
			t.Error(kind, seen)
		}
	}
}

func TestFiveThousandTablesAreCountedWithinTheServersLocks(t *testing.T) {
	// A lock table as small as Postgres makes it: (10 + 4) transactions of 10 locks, and the slack it keeps.
	server := servertest.Start(t, "max_connections=10", "max_locks_per_transaction=10", "max_wal_senders=0", "autovacuum=off")
	for start := 0; start < 5000; start += 50 {
		servertest.Do(t, server, "wepppy", fmt.Sprintf(
			`DO $$ BEGIN FOR i IN %d..%d LOOP EXECUTE format('CREATE TABLE public.t%%s (id int)', i); END LOOP; END $$`, start, start+49))
	}
	session := servertest.Session(t, server, "wepppy")
	ctx := context.Background()
	if _, err := session.Exec(ctx, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"); err != nil {
		t.Fatal(err)
	}
	counts, err := Count(ctx, session)
	if err != nil {
		t.Fatal(err)
	}
	if len(counts.Tables) != 5000 {
		t.Fatal(len(counts.Tables))
	}
}
