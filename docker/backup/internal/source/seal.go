package source

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"wepp.example/backup/internal/event"
	"wepp.example/backup/internal/postgres"
)

// sealPatience is for sessions that are told to end.
const sealPatience = 5 * time.Second

// Seal is the source closed to writers.
type Seal struct {
	source *Source
	before string // what default_transaction_read_only of the database said; empty: nothing
}

// sealSetting of the database, by itself and for no role.
const sealSetting = `select coalesce((select split_part(c, '=', 2) from pg_db_role_setting s join pg_database d on d.oid = s.setdatabase,
	unnest(s.setconfig) c where d.datname = current_database() and s.setrole = 0 and c like 'default_transaction_read_only=%'), '')`

// Seal makes every new session of the database read-only and ends those that began before. Nothing writes there
// afterwards, except a session that switches this off for itself.
func (s *Source) Seal(ctx context.Context, report *event.Reporter) (*Seal, error) {
	seal := &Seal{source: s}
	if err := s.Session.QueryRow(ctx, sealSetting).Scan(&seal.before); err != nil {
		return nil, fmt.Errorf("looking at the source's settings: %w", err)
	}
	if _, err := s.Session.Exec(ctx, "alter database "+postgres.Quote(s.Database)+" set default_transaction_read_only = on"); err != nil {
		return nil, event.Fail("use the database's owner or a superuser of the source as --user", "the source could not be made read-only: %s", message(err))
	}
	if err := s.endWriters(ctx); err != nil {
		seal.Break(report)
		return nil, err
	}
	return seal, nil
}

func (s *Source) endWriters(ctx context.Context) error {
	var since time.Time
	if err := s.Session.QueryRow(ctx, "select clock_timestamp()").Scan(&since); err != nil {
		return fmt.Errorf("asking the source's clock: %w", err)
	}
	const others = ` from pg_stat_activity where datname = current_database() and backend_type = 'client backend'
		and application_name <> $2 and backend_start < $1`
	for until := time.Now().Add(sealPatience); ; {
		if _, err := s.Session.Exec(ctx, "select pg_terminate_backend(pid)"+others, since, postgres.ApplicationName); err != nil {
			return event.Fail("use a superuser of the source as --user", "the source's sessions could not be ended: %s", message(err))
		}
		var left int
		if err := s.Session.QueryRow(ctx, "select count(*)::int"+others, since, postgres.ApplicationName).Scan(&left); err != nil {
			return fmt.Errorf("asking for the source's sessions: %w", err)
		}
		if left == 0 {
			break
		}
		if time.Now().After(until) {
			return event.Fail("end them by hand (see the source's pg_stat_activity) and run this again", "%d sessions of the source do not let go", left)
		}
		time.Sleep(lookPause / 2)
	}
	var prepared int
	if err := s.Session.QueryRow(ctx, "select count(*)::int from pg_prepared_xacts where database = current_database()").Scan(&prepared); err != nil {
		return fmt.Errorf("asking for prepared transactions: %w", err)
	}
	if prepared > 0 {
		return event.Fail("end them first: COMMIT PREPARED or ROLLBACK PREPARED", "%d prepared transactions hold the source", prepared)
	}
	return nil
}

// Break opens the source to writers again, also when the caller was told to stop or the source is just coming back.
func (seal *Seal) Break(report *event.Reporter) {
	s := seal.source
	err := s.again(func(ctx context.Context, session *pgx.Conn) error { return s.unseal(ctx, session, seal.before) })
	if err != nil {
		s.staysSealed = true
		report.Left("the source is still read-only (%s): %s", message(err), seal.Undo())
	}
}

// Leave keeps the source closed because the moved database may be the live one. Whoever asked for the move can find out.
func (seal *Seal) Leave(report *event.Reporter) {
	seal.source.staysSealed = true
	report.Left("the source stays read-only, for the moved database may be the live one; to open it again: %s", seal.Undo())
}

// Undo is what opens the source by hand, also typed inside it, where a transaction is read-only unless it says otherwise.
func (seal *Seal) Undo() string {
	return "BEGIN READ WRITE; ALTER DATABASE " + postgres.Quote(seal.source.Database) + " RESET default_transaction_read_only; COMMIT;"
}

func (s *Source) unseal(ctx context.Context, session *pgx.Conn, before string) error {
	statement := "alter database " + postgres.Quote(s.Database) + " reset default_transaction_read_only"
	if before != "" {
		statement = "alter database " + postgres.Quote(s.Database) + " set default_transaction_read_only = " + postgres.Literal(before)
	}
	var now string
	if err := session.QueryRow(ctx, sealSetting).Scan(&now); err != nil {
		return err
	}
	if now == before {
		return nil
	}
	_, err := session.Exec(ctx, statement)
	if err != nil {
		return errors.Join(errors.New("opening the source to writers"), err)
	}
	return nil
}
