package source

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"wepp.example/backup/internal/event"
	"wepp.example/backup/internal/postgres"
)

// lockPatience is for whoever changes a table of the source, or empties it; tests have less. Without an end to it, a reader
// that comes behind one who waits for the held moment to end would wait for ever.
var lockPatience = time.Minute

// Snapshot is one moment of the source, held still by an open transaction; other sessions read the same moment by its name.
type Snapshot struct {
	Name    string
	Session *pgx.Conn // inside the transaction; for reading in that moment
	Mark    Mark
	keeps   bool
}

// Mark is how far the source had been written.
type Mark struct {
	next    int64 // the transaction number that a writer would get next
	writing bool  // somebody had such a number and was not done
	changes int64 // rows inserted, updated and deleted as far as the server's statistics know
	// Fingerprint of the files that tables are in and of where sequences stand: TRUNCATE and nextval change no rows.
	beside string
	shape  string // see Shape
}

// Hold exports a snapshot of now.
func (s *Source) Hold(ctx context.Context) (*Snapshot, error) { return s.hold(ctx, "") }

// HoldAt opens a session in a snapshot that somebody else exported and still holds.
func (s *Source) HoldAt(ctx context.Context, name string) (*Snapshot, error) {
	return s.hold(ctx, name)
}

func (s *Source) hold(ctx context.Context, name string) (*Snapshot, error) {
	held, err := s.join(ctx, name)
	if err != nil {
		return nil, err
	}
	held.Mark, err = markOf(ctx, held.Session)
	if err == nil && name == "" {
		err = held.Session.QueryRow(ctx, "select pg_export_snapshot()").Scan(&held.Name)
	}
	if err != nil {
		held.Release()
		return nil, noSnapshot(err)
	}
	return held, nil
}

// Keep has the tables (quoted names) stay as they are until LetChange or Release: emptying one or rewriting it would show
// in every moment, also in one before. Their rows may be written.
func (h *Snapshot) Keep(ctx context.Context, tables []string) error {
	if len(tables) == 0 {
		return nil
	}
	_, err := h.Session.Exec(ctx, "savepoint unkept")
	if err == nil {
		_, err = h.Session.Exec(ctx, "lock table only "+strings.Join(tables, ", only ")+" in access share mode")
	}
	if err != nil {
		var answer *pgconn.PgError
		if errors.As(err, &answer) && answer.Code == "42P01" {
			return event.Fail("run it again", "a table of the source was dropped just now: %s", message(err))
		}
		return event.Fail("see who holds it in the source's pg_locks, then run it again", "the source's tables could not be locked: %s", message(err))
	}
	h.keeps = true
	return nil
}

// LetChange ends what Keep began, as soon as the rows are read: whoever waits to change a table holds up all who come after.
func (h *Snapshot) LetChange(ctx context.Context) error {
	if !h.keeps {
		return nil
	}
	h.keeps = false
	_, err := h.Session.Exec(ctx, "rollback to savepoint unkept")
	return err
}

// Join opens another session in the same moment, without a mark.
func (s *Source) Join(ctx context.Context, held *Snapshot) (*Snapshot, error) {
	return s.join(ctx, held.Name)
}

func (s *Source) join(ctx context.Context, name string) (*Snapshot, error) {
	session, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	held := &Snapshot{Name: name, Session: session}
	statements := []string{"begin isolation level repeatable read read only"}
	if name != "" {
		statements = append(statements, "set transaction snapshot "+postgres.Literal(name))
	}
	for _, statement := range statements {
		if _, err = session.Exec(ctx, statement); err != nil {
			held.Release()
			return nil, noSnapshot(err)
		}
	}
	return held, nil
}

func noSnapshot(err error) error {
	return event.Fail("see the source's log, then run it again", "the source gives no snapshot: %s", err)
}

// Release lets go of the moment.
func (h *Snapshot) Release() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	h.Session.Close(ctx) //nolint:errcheck // the server ends a lost session by itself
}

// Now is how far the source is written at this moment.
func (s *Source) Now(ctx context.Context) (Mark, error) { return markOf(ctx, s.Session) }

func markOf(ctx context.Context, session *pgx.Conn) (Mark, error) {
	var mark Mark
	// The txid functions are there from 8.3 to today; the newer pg_current_snapshot is not in 12.
	err := session.QueryRow(ctx, `select txid_snapshot_xmax(s), txid_snapshot_xmin(s) <> txid_snapshot_xmax(s),
			(select coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0)::bigint from pg_stat_all_tables
				where `+strings.ReplaceAll(userSchema, "n.nspname", "schemaname")+` or schemaname = 'pg_catalog' and relname like 'pg_largeobject%'),
			(select md5(coalesce(string_agg(oid || ' ' || relfilenode, ',' order by oid), '')) from pg_class where oid >= 16384 and relkind in ('r', 'm'))
				|| (select md5(coalesce(string_agg(concat_ws(' ', schemaname, sequencename, last_value), ',' order by schemaname, sequencename), '')) from pg_sequences)
		from txid_current_snapshot() s`).Scan(&mark.next, &mark.writing, &mark.changes, &mark.beside)
	if err != nil {
		return mark, fmt.Errorf("asking how far the source is written: %w", err)
	}
	mark.shape, err = shape(ctx, session)
	return mark, err
}

// Untouched is true when it is certain that nothing on the whole server was written between the two marks: every
// transaction that writes takes a number.
func (m Mark) Untouched(later Mark) bool { return !m.writing && m.next == later.next }

// Changes is how many rows the server's statistics say were written between the two marks. They come up to ten seconds late.
func (m Mark) Changes(later Mark) int64 { return later.changes - m.changes }

// statisticsSince is the major from which on a session's statistics are never lost and are there when it has ended.
const statisticsSince = 15

// Quiet is true when the statistics prove that this database was not written since the mark: nothing was counted, no
// file or definition changed, and nobody is connected whose changes might not be counted yet.
func (s *Source) Quiet(ctx context.Context, mark Mark, major int) (bool, error) {
	if major < statisticsSince {
		return false, nil
	}
	var others bool
	err := s.Session.QueryRow(ctx, `select exists (select from pg_stat_activity where datname = current_database()
		and backend_type = 'client backend' and application_name <> $1)`, postgres.ApplicationName).Scan(&others)
	if err != nil {
		return false, fmt.Errorf("asking for the source's sessions: %w", err)
	}
	if others {
		return false, nil
	}
	// Only now: whoever was there a moment ago has been counted.
	now, err := s.Now(ctx)
	return err == nil && mark.changes == now.changes && mark.beside == now.beside && mark.shape == now.shape, err
}
