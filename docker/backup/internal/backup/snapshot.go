package backup

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"wepp.example/backup/internal/census"
	"wepp.example/backup/internal/postgres"
	"wepp.example/backup/internal/vault"
)

// snapshot is one state of the database, held by a session while it is dumped and counted.
type snapshot struct {
	session *pgx.Conn
	name    string
	facts   vault.Manifest // what the server says of itself and the database
}

// open takes the snapshot and holds all tables against being dropped.
func open(ctx context.Context, server postgres.Server, database string) (*snapshot, error) {
	session, err := server.Connect(ctx, database)
	if err != nil {
		return nil, err
	}
	taken := &snapshot{session: session}
	if err := taken.prepare(ctx, database); err != nil {
		taken.close()
		return nil, err
	}
	return taken, nil
}

func (s *snapshot) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	s.session.Close(ctx) //nolint:errcheck,gosec // the server ends a lost session by itself
}

func (s *snapshot) prepare(ctx context.Context, database string) error {
	// Counting goes on beside the dump and must not take the cores that it needs.
	begin := "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; SET LOCAL max_parallel_workers_per_gather = 0"
	if _, err := s.session.Exec(ctx, begin); err != nil {
		return fmt.Errorf("beginning: %w", err)
	}
	facts := &s.facts
	facts.Database = database
	if err := s.session.QueryRow(ctx, `SELECT pg_export_snapshot(), current_setting('server_version'),
			pg_database_size(current_database())`).Scan(&s.name, &facts.ServerVersion, &facts.DatabaseBytes); err != nil {
		return fmt.Errorf("taking a snapshot: %w", err)
	}
	if err := census.Lock(ctx, s.session, int(lockPatience.Milliseconds())); err != nil {
		return err
	}
	var err error
	if facts.Extensions, err = extensions(ctx, s.session); err != nil {
		return err
	}
	if facts.Roles, err = postgres.Strings(ctx, s.session, rolesQuery); err != nil {
		return err
	}
	if facts.Revision, err = revision(ctx, s.session); err != nil {
		return err
	}
	facts.ClientVersion, err = clientVersion(ctx)
	return err
}

// rolesQuery: owners and holders of grants, as the dump will name them. What the superuser of initdb owns stands in no
// dependency, hence the tables' and the database's owners besides.
const rolesQuery = `
SELECT rolname::text FROM pg_roles WHERE oid IN (
  SELECT refobjid FROM pg_shdepend WHERE refclassid = 'pg_authid'::regclass
    AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
  UNION SELECT datdba FROM pg_database WHERE datname = current_database()
  UNION SELECT relowner FROM pg_class WHERE relnamespace NOT IN
    (SELECT oid FROM pg_namespace WHERE nspname ~ '^pg_' OR nspname = 'information_schema'))
ORDER BY 1`

func extensions(ctx context.Context, session *pgx.Conn) (map[string]string, error) {
	rows, err := session.Query(ctx, "SELECT extname::text, extversion FROM pg_extension")
	if err != nil {
		return nil, fmt.Errorf("asking for extensions: %w", err)
	}
	found := map[string]string{}
	var name, version string
	_, err = pgx.ForEachRow(rows, []any{&name, &version}, func() error {
		found[name] = version
		return nil
	})
	return found, err
}

// revision is the schema's version as Alembic writes it, "" where there is no such table or nothing in it.
func revision(ctx context.Context, session *pgx.Conn) (string, error) {
	var table string
	err := session.QueryRow(ctx, `SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c
		JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
		WHERE c.relname = 'alembic_version' AND c.relkind = 'r' AND a.attname = 'version_num'
		ORDER BY n.nspname <> 'public', 1 LIMIT 1`).Scan(&table)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("looking for the schema's revision: %w", err)
	}
	var found string
	err = session.QueryRow(ctx, "SELECT coalesce(string_agg(version_num, ',' ORDER BY version_num), '') FROM "+table).Scan(&found)
	if err != nil {
		return "", fmt.Errorf("reading the schema's revision: %w", err)
	}
	return found, nil
}
