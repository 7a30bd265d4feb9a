// Package census owns what a database holds, told so that two databases can be compared: rows per table, and hashes of
// the rows.
//
// Tables are ordinary ones and leaves of partitions, each by itself. Materialised views stand apart: loading a dump
// computes them anew, so one that was stale when it was dumped rightly differs afterwards. Left out are system and
// temporary tables and what an extension brings along (unless it marks a table as the user's, to be dumped whole).
package census

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"sort"
	"strings"

	"github.com/jackc/pgx/v5"

	"wepp.example/backup/internal/postgres"
)

// Counts of one database, as one snapshot shows it.
type Counts struct {
	Tables       map[string]int64 `json:"tables"` // rows by "schema.table"
	Views        map[string]int64 `json:"views"`  // rows by "schema.view", of populated materialised views
	LargeObjects int64            `json:"large_objects"`
}

// Rows is the sum over the tables.
func (c Counts) Rows() int64 {
	var total int64
	for _, rows := range c.Tables {
		total += rows
	}
	return total
}

// Differences between what was expected and what there is, one sentence each, in order of the tables' names.
// Materialised views are not compared, see above.
func (c Counts) Differences(there Counts) []string {
	var found []string
	for name, rows := range c.Tables {
		if other, has := there.Tables[name]; !has {
			found = append(found, fmt.Sprintf("%s is missing (%d rows)", name, rows))
		} else if other != rows {
			found = append(found, fmt.Sprintf("%s has %d rows instead of %d", name, other, rows))
		}
	}
	for name, rows := range there.Tables {
		if _, has := c.Tables[name]; !has {
			found = append(found, fmt.Sprintf("%s is too much (%d rows)", name, rows))
		}
	}
	sort.Strings(found)
	if c.LargeObjects != there.LargeObjects {
		found = append(found, fmt.Sprintf("there are %d large objects instead of %d", there.LargeObjects, c.LargeObjects))
	}
	return found
}

// batch is how many tables one statement asks for: few round trips with 5,000 tables, and yet few locks at a time.
const batch = 20

// Count counts all rows. Inside a transaction it holds no locks afterwards that were not held before.
func Count(ctx context.Context, session *pgx.Conn) (Counts, error) {
	counts := Counts{Tables: map[string]int64{}, Views: map[string]int64{}}
	all, err := relations(ctx, session)
	if err != nil {
		return counts, err
	}
	err = each(ctx, session, all, func(relation) string { return "count(*)::text, ''" }, func(one relation, first, _ string) error {
		rows, err := number(first)
		one.in(counts.Tables, counts.Views)[one.name()] = rows
		return err
	})
	if err != nil {
		return counts, err
	}
	return counts, largeObjects(ctx, session, &counts.LargeObjects)
}

// relation is something with rows.
type relation struct {
	schema, table string
	view          bool
	// in alphabetical order: loading a dump may give a child by inheritance another
	columns []column
}

type column struct {
	name string
	kind uint32 // the type's number
}

// in chooses the map that the relation is counted in.
func (r relation) in(tables, views map[string]int64) map[string]int64 {
	if r.view {
		return views
	}
	return tables
}

var ordinary = regexp.MustCompile(`^[a-z_][a-z0-9_$]*$`)

func (r relation) name() string { return Name(r.schema, r.table) }

// Name is "schema.table", each quoted where it is not an ordinary lower-case word, so that no two are alike. Not
// quote_ident's: that one quotes key words, and which those are differs from major to major.
func Name(schema, table string) string { return quoted(schema) + "." + quoted(table) }

func quoted(name string) string {
	if ordinary.MatchString(name) {
		return name
	}
	return postgres.Quote(name)
}

func (r relation) identifier() string { return pgx.Identifier{r.schema, r.table}.Sanitize() }

const relationsQuery = `
SELECT n.nspname, c.relname, c.relkind = 'm', columns.names, columns.kinds
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, LATERAL (
  SELECT coalesce(array_agg(a.attname::text ORDER BY a.attname COLLATE "C"), '{}') AS names,
    coalesce(array_agg(a.atttypid ORDER BY a.attname COLLATE "C"), '{}') AS kinds
  FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns
WHERE (c.relkind = 'r' OR (c.relkind = 'm' AND c.relispopulated))
  AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT EXISTS (
    SELECT FROM pg_depend d LEFT JOIN pg_extension e ON e.oid = d.refobjid
    WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.objsubid = 0 AND d.deptype = 'e'
      AND coalesce(e.extcondition[array_position(e.extconfig, c.oid)], 'x') <> '')
ORDER BY 1, 2`

func relations(ctx context.Context, session *pgx.Conn) ([]relation, error) {
	// Row level security shall refuse to count rather than count in part, as it does for pg_dump.
	if _, err := session.Exec(ctx, "SET row_security = off"); err != nil {
		return nil, fmt.Errorf("preparing to count: %w", err)
	}
	rows, err := session.Query(ctx, relationsQuery)
	if err != nil {
		return nil, fmt.Errorf("listing the tables: %w", err)
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (relation, error) {
		var one relation
		var names []string
		var kinds []uint32
		err := row.Scan(&one.schema, &one.table, &one.view, &names, &kinds)
		for i, name := range names {
			one.columns = append(one.columns, column{name, kinds[i]})
		}
		return one, err
	})
}

// Filled is whether there is anything with rows to count.
func Filled(ctx context.Context, session *pgx.Conn) (bool, error) {
	var filled bool
	if err := session.QueryRow(ctx, "SELECT EXISTS ("+relationsQuery+")").Scan(&filled); err != nil {
		return false, fmt.Errorf("looking for a table: %w", err)
	}
	return filled, nil
}

// Lock holds every table against being dropped or rewritten until the transaction ends, as pg_dump does, so that what
// is dumped under the transaction's snapshot can be counted under it. patience in milliseconds.
func Lock(ctx context.Context, session *pgx.Conn, patience int) error {
	all, err := relations(ctx, session)
	if err != nil {
		return err
	}
	if _, err := session.Exec(ctx, fmt.Sprintf("SET LOCAL lock_timeout = %d", patience)); err != nil {
		return fmt.Errorf("limiting the wait for locks: %w", err)
	}
	var names []string
	for _, one := range all {
		if !one.view {
			names = append(names, "ONLY "+one.identifier())
		}
	}
	for start := 0; start < len(names); start += batch {
		some := names[start:min(start+batch, len(names))]
		if _, err := session.Exec(ctx, "LOCK TABLE "+strings.Join(some, ", ")+" IN ACCESS SHARE MODE"); err != nil {
			return fmt.Errorf("locking the tables: %w", err)
		}
	}
	return nil
}

// each asks for two texts of every relation, many relations in one statement, and hands the answers over.
func each(ctx context.Context, session *pgx.Conn, all []relation, texts func(relation) string, take func(relation, string, string) error) error {
	for start := 0; start < len(all); start += batch {
		some := all[start:min(start+batch, len(all))]
		parts := make([]string, len(some))
		for i, one := range some {
			// ONLY: children by inheritance are counted as tables of their own.
			parts[i] = fmt.Sprintf("SELECT %d, %s FROM ONLY %s AS r", i, texts(one), one.identifier())
		}
		if err := releasing(ctx, session, func() error {
			rows, err := session.Query(ctx, strings.Join(parts, " UNION ALL "))
			if err != nil {
				return err
			}
			var (
				index         int
				first, second string
			)
			_, err = pgx.ForEachRow(rows, []any{&index, &first, &second}, func() error { return take(some[index], first, second) })
			return err
		}); err != nil {
			return fmt.Errorf("reading the tables: %w", err)
		}
	}
	return nil
}

// releasing gives the locks back that the work took: planning one count locks all indexes of the table, and with
// thousands of tables the server's lock table would be full. Rolling back to a savepoint frees them at once.
func releasing(ctx context.Context, session *pgx.Conn, work func() error) error {
	if session.PgConn().TxStatus() != 'T' {
		return work()
	}
	if _, err := session.Exec(ctx, "SAVEPOINT census"); err != nil {
		return err
	}
	err := work()
	_, undone := session.Exec(ctx, "ROLLBACK TO SAVEPOINT census; RELEASE SAVEPOINT census")
	return errors.Join(err, undone)
}

func largeObjects(ctx context.Context, session *pgx.Conn, into *int64) error {
	if err := session.QueryRow(ctx, "SELECT count(*) FROM pg_largeobject_metadata").Scan(into); err != nil {
		return fmt.Errorf("counting the large objects: %w", err)
	}
	return nil
}
