package transfer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sync/errgroup"

	"wepp.example/backup/internal/event"
	"wepp.example/backup/internal/postgres"
	"wepp.example/backup/internal/source"
)

// streamPage is how much of a table's rows is passed on at once.
const streamPage = 256 << 10

// stream is a table whose rows travel from server to server as they are read, without a dump in between.
type stream struct {
	Name    string // quoted, with its schema
	Called  string // the same for people
	Columns string // quoted, those that are stored
	Binary  bool   // each column's binary form is the same on all servers
	Bytes   int64  // without indexes
}

// streamBytes is from which size on a table travels so; a smaller one is sooner dumped and loaded with the others.
var streamBytes = 128 << 10

// streams finds the tables that travel so, the largest first. The rest is left to pg_dump, which knows more of it:
// extensions' tables, whose rows are dumped in part; tables with row security; hash partitions, whose rows may belong
// elsewhere on another server; and all of a database that is not in UTF8, for its texts may be none in any encoding. (Of
// children by inheritance, COPY takes the rows of the table itself alone, as pg_dump.) Every name is quoted: the server
// quotes but what it reserves itself, and the other may reserve more.
func streams(ctx context.Context, session *pgx.Conn) ([]stream, error) {
	rows, err := session.Query(ctx, `select format('"%s"."%s"', replace(n.nspname, '"', '""'), replace(c.relname, '"', '""')) as name,
			concat_ws('.', n.nspname, c.relname) as called, a.columns, a.binary, coalesce(pg_table_size(c.oid), 0) as bytes
		from pg_class c join pg_namespace n on n.oid = c.relnamespace,
			lateral (select string_agg(format('"%s"', replace(attname, '"', '""')), ', ' order by attnum) as columns,
				bool_and(t.typtype <> 'd' and coalesce(case when t.typcategory = 'A' then e.oid else t.oid end < 10000
					and case when t.typcategory = 'A' then e.typname else t.typname end = any ($1), false)) as binary
				from pg_attribute join pg_type t on t.oid = atttypid left join pg_type e on e.oid = t.typelem
				where attrelid = c.oid and attnum > 0 and not attisdropped and attgenerated = '') a
		where current_setting('server_encoding') = 'UTF8' and c.relkind = 'r'
			and c.relpersistence = 'p' and not c.relrowsecurity and n.nspname <> 'information_schema' and n.nspname !~ '^pg_'
			and a.columns is not null and pg_table_size(c.oid) >= $2
			and not exists (select from pg_depend where classid = 'pg_class'::regclass and objid = c.oid and deptype = 'e')
			and not exists (select from pg_partition_ancestors(c.oid) r join pg_partitioned_table p on p.partrelid = r.relid where p.partstrat = 'h')
		order by bytes desc`, alikeEverywhere, streamBytes)
	if err != nil {
		return nil, fmt.Errorf("listing the source's tables: %w", err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[stream])
	if err != nil {
		return nil, fmt.Errorf("listing the source's tables: %w", err)
	}
	return found, nil
}

func names(tables []stream) []string {
	found := make([]string, 0, len(tables))
	for _, each := range tables {
		found = append(found, each.Name)
	}
	return found
}

// alikeEverywhere are the server's own types whose binary form (src/backend/utils/adt, *send and *recv) names nothing
// that has other numbers on another server, and has not changed since version 12. Domains and all others go as text.
var alikeEverywhere = []string{
	"bool", "bpchar", "bytea", "char", "date", "float4", "float8", "int2", "int4", "int8", "interval", "json", "jsonb",
	"name", "numeric", "text", "time", "timestamp", "timestamptz", "timetz", "uuid", "varchar",
}

// stream copies the rows of the tables in the held moment, some tables at a time.
func (r *run) stream(ctx context.Context, held *source.Snapshot, tables []stream) error {
	waiting := make(chan stream, len(tables))
	for _, each := range tables {
		waiting <- each
	}
	close(waiting)
	workers, ctx := errgroup.WithContext(ctx)
	for range min(r.Jobs, len(tables)) {
		workers.Go(func() error {
			from, err := r.Source.Join(ctx, held)
			if err != nil {
				return shut("source", err)
			}
			defer from.Release()
			to, err := r.incoming.Connect(ctx)
			if err != nil {
				return shut("stack's server", err)
			}
			defer to.Close(context.Background()) //nolint:errcheck // all is committed, or nothing wanted
			for each := range waiting {
				if err := each.copy(ctx, from.Session, to); err != nil {
					return each.problem(err)
				}
			}
			return nil
		})
	}
	return workers.Wait()
}

// copy brings the rows over. Loaded into a table that is emptied in the same transaction they need no log where the
// server keeps none for such, and come frozen: no later reader, be it the building of an index, has to note in each row
// that it is there, which with checksums would send every page through the log and to disk again.
func (s stream) copy(ctx context.Context, from, to *pgx.Conn) error {
	transaction, err := to.Begin(ctx)
	if err != nil {
		return err
	}
	defer transaction.Rollback(ctx) //nolint:errcheck // nothing, once it is committed
	if _, err := transaction.Exec(ctx, "truncate only "+s.Name); err != nil {
		return err
	}
	format := "text"
	if s.Binary {
		format = "binary"
	}
	relation := fmt.Sprintf("copy %s (%s)", s.Name, s.Columns)
	reader, writer := io.Pipe()
	read := make(chan error, 1)
	go func() {
		page := bufio.NewWriterSize(writer, streamPage)
		_, err := from.PgConn().CopyTo(ctx, page, fmt.Sprintf("%s to stdout (format %s)", relation, format))
		if err == nil {
			err = page.Flush()
		}
		writer.CloseWithError(err) //nolint:errcheck // never fails
		read <- err
	}()
	_, err = to.PgConn().CopyFrom(ctx, reader, fmt.Sprintf("%s from stdin (format %s, freeze)", relation, format))
	reader.CloseWithError(errNotWanted) //nolint:errcheck // never fails
	if cause := <-read; cause != nil && !errors.Is(cause, errNotWanted) {
		err = cause
	}
	if err != nil {
		return err
	}
	return transaction.Commit(ctx)
}

var errNotWanted = errors.New("nobody takes the rows any more")

// shut is for a server that let us in when the move began, and does not any more.
func shut(who string, err error) error {
	return event.Fail("see its log, then run this again", "the %s lets nobody in any more: %s", who, err)
}

const mendLocked = "let nobody change tables of the source meanwhile (see its pg_locks), and run it again"

func (s stream) problem(err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	if full := postgres.Full(err); full != nil {
		return full
	}
	var answer *pgconn.PgError
	if errors.As(err, &answer) && answer.Code == "55P03" {
		return event.Fail(mendLocked,
			"the rows of %s could not be read: somebody waits to change that table", s.Called)
	}
	why := err.Error()
	if answer != nil {
		why = answer.Message
	}
	return event.Fail("see the logs of both servers, then run it again", "the rows of %s could not be copied: %s", s.Called, why)
}
