// Package source owns the database that is moved: what it holds and needs, one moment of it held still for everybody who
// reads it, whether it was written since, and, for a move while it goes on being written, its slot and publication.
//
// Without a slot nothing here writes to the source.
package source

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"wepp.example/backup/internal/event"
	"wepp.example/backup/internal/postgres"
	"wepp.example/backup/internal/scratch"
)

// Source is one database on the server that is left, with a session of our own in it.
type Source struct {
	Server   postgres.Server
	Database string
	Session  *pgx.Conn
	// staysSealed: it was not opened to writers again. Its publication stays, too, as the mark of that.
	staysSealed bool
}

// Open connects. Refuses with the server's reason.
func Open(ctx context.Context, server postgres.Server, database string) (*Source, error) {
	opened := &Source{Server: server, Database: database}
	var err error
	if opened.Session, err = opened.connect(ctx); err != nil {
		return nil, err
	}
	return opened, nil
}

// connect opens a session that waits for nobody's lock for ever: reading waits for whoever changes a table, and so does
// asking for sizes and sequences.
func (s *Source) connect(ctx context.Context) (*pgx.Conn, error) {
	session, err := s.Server.Connect(ctx, s.Database)
	if err != nil {
		return nil, err
	}
	if _, err := session.Exec(ctx, "set lock_timeout = "+strconv.FormatInt(lockPatience.Milliseconds(), 10)); err != nil {
		session.Close(ctx) //nolint:errcheck,gosec // it is of no use
		return nil, fmt.Errorf("preparing the source's session: %w", err)
	}
	return session, nil
}

// Close ends the session.
func (s *Source) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	s.Session.Close(ctx) //nolint:errcheck // the server ends a lost session by itself
}

// Inventory is what a move has to know before it begins.
type Inventory struct {
	Version      int            `json:"version"` // server_version_num: 160014
	ServerText   string         `json:"server_version"`
	Database     string         `json:"database"`
	User         string         `json:"user"`
	Superuser    bool           `json:"superuser"`
	Bytes        int64          `json:"bytes"`
	TableBytes   int64          `json:"-"` // of it rows and large objects, without indexes
	Tables       int            `json:"tables"`
	LargeObjects int64          `json:"large_objects"`
	Extensions   []Extension    `json:"extensions"`
	Roles        []Role         `json:"-"`
	Locale       scratch.Locale `json:"-"`
	Unreadable   []string       `json:"-"` // tables that the user may not read
	Tablespaces  []string       `json:"-"` // other than the default one
	Foreign      int            `json:"-"` // subscriptions, which are not moved
	Publications []string       `json:"-"`
	Prepared     int            `json:"-"` // transactions that are neither committed nor rolled back
}

// Major is 16 of 160014.
func (i Inventory) Major() int { return i.Version / 10000 }

// Extension is one that is installed.
type Extension struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// userSchema is a condition on a schema's name n.nspname: not the server's own.
const userSchema = `n.nspname <> 'information_schema' and n.nspname !~ '^pg_'`

// Look takes the inventory.
func (s *Source) Look(ctx context.Context) (Inventory, error) {
	found := Inventory{Database: s.Database}
	err := s.Session.QueryRow(ctx, `select current_setting('server_version_num')::int, current_setting('server_version'),
			current_user::text, r.rolsuper, pg_database_size(current_database()),
			(select coalesce(sum(pg_table_size(c.oid)), 0)::bigint from pg_class c join pg_namespace n on n.oid = c.relnamespace
				where c.relkind = 'r' and (c.oid = 'pg_largeobject'::regclass or `+userSchema+`)),
			(select count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.relkind in ('r', 'p', 'm') and `+userSchema+`)::int,
			(select count(*) from pg_largeobject_metadata),
			(select count(*) from pg_subscription s join pg_database d on d.oid = s.subdbid where d.datname = current_database())::int,
			(select count(*) from pg_prepared_xacts where database = current_database())::int
		from pg_roles r where r.rolname = current_user`).
		Scan(&found.Version, &found.ServerText, &found.User, &found.Superuser, &found.Bytes, &found.TableBytes, &found.Tables, &found.LargeObjects,
			&found.Foreign, &found.Prepared)
	var answer *pgconn.PgError
	if errors.As(err, &answer) && answer.Code == "55P03" {
		return found, event.Refuse("see who in the source's pg_locks, end that session, then run it again", "somebody holds a table of the source")
	}
	if err != nil {
		return found, fmt.Errorf("looking at the source: %w", err)
	}
	if found.Locale, _, err = scratch.LocaleOf(ctx, s.Session, s.Database); err != nil {
		return found, fmt.Errorf("looking at the source's locale: %w", err)
	}
	found.Unreadable, err = postgres.Strings(ctx, s.Session, `select format('%I.%I', n.nspname, c.relname)
		from pg_class c join pg_namespace n on n.oid = c.relnamespace
		where c.relkind in ('r', 'p', 'm', 'S') and `+userSchema+`
			and not (has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select')) order by 1`)
	if err != nil {
		return found, fmt.Errorf("looking at the source's tables: %w", err)
	}
	found.Tablespaces, err = postgres.Strings(ctx, s.Session, `select distinct t.spcname::text from pg_class c join pg_tablespace t
		on t.oid = c.reltablespace where t.spcname !~ '^pg_' order by 1`)
	if err != nil {
		return found, fmt.Errorf("looking at the source's tablespaces: %w", err)
	}
	found.Publications, err = postgres.Strings(ctx, s.Session, "select pubname::text from pg_publication where not starts_with(pubname::text, $1) order by 1", channelPrefix)
	if err != nil {
		return found, fmt.Errorf("looking at the source's publications: %w", err)
	}
	rows, err := s.Session.Query(ctx, "select extname::text as name, extversion as version from pg_extension where extname <> 'plpgsql' order by 1")
	if err != nil {
		return found, fmt.Errorf("looking at the source's extensions: %w", err)
	}
	if found.Extensions, err = pgx.CollectRows(rows, pgx.RowToStructByName[Extension]); err != nil {
		return found, fmt.Errorf("looking at the source's extensions: %w", err)
	}
	found.Roles, err = s.roles(ctx)
	return found, err
}
