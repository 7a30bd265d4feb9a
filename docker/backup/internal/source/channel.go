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
)

const (
	channelPrefix = "wepp_move_"
	// channelLock is our number among the source's advisory locks: one move out of a database at a time.
	channelLock = 0x77657070
	// lookPause lies between two looks at something that is waited for.
	lookPause = 100 * time.Millisecond
)

// closePatience outlasts a source that is just recovering, or a sender that is slow to end; tests have less.
var closePatience = 30 * time.Second

// Channel is what a live move makes on the source: a publication, and a slot that keeps for the subscriber what is
// written. A slot that nobody reads makes the source keep its log for ever, so it goes away on every way out.
type Channel struct {
	Name   string // of publication and slot
	source *Source
	stream *pgx.Conn // the replication session that made the slot; holds its snapshot
}

// OpenChannel makes publication and slot. The snapshot that is returned shows exactly what the slot does not bring.
func (s *Source) OpenChannel(ctx context.Context, superuser bool, report *event.Reporter) (*Channel, *Snapshot, error) {
	made := &Channel{Name: channelPrefix + strconv.FormatInt(time.Now().UnixMilli(), 10), source: s}
	scope := "all tables"
	if !superuser {
		tables, err := postgres.Strings(ctx, s.Session, `select string_agg(format('%I.%I', n.nspname, c.relname), ', ')
			from pg_class c join pg_namespace n on n.oid = c.relnamespace
			where c.relkind = 'r' and c.relpersistence = 'p' and `+userSchema+` having count(*) > 0`)
		if err != nil {
			return nil, nil, fmt.Errorf("listing what to publish: %w", err)
		}
		if len(tables) == 1 {
			scope = "table only " + tables[0]
		}
	}
	if _, err := s.Session.Exec(ctx, "create publication "+made.Name+" for "+scope); err != nil {
		return nil, nil, event.Refuse("use a superuser of the source as --user", "%s may not publish the source's tables: %s", s.Server.User, message(err))
	}
	held, err := made.openSlot(ctx, report)
	if err != nil {
		made.Close(report)
		return nil, nil, err
	}
	return made, held, nil
}

func (c *Channel) openSlot(ctx context.Context, report *event.Reporter) (*Snapshot, error) {
	config, err := c.source.Server.Config(c.source.Database)
	if err != nil {
		return nil, err
	}
	// https://www.postgresql.org/docs/current/protocol-replication.html: commands of a walsender, by the simple protocol only.
	config.RuntimeParams["replication"] = "database"
	if c.stream, err = pgx.ConnectConfig(ctx, config); err != nil {
		return nil, event.Refuse("let the source's pg_hba.conf admit the user, and give it REPLICATION", "the source lets %s open no replication session: %s", c.source.Server.User, message(err))
	}
	told, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		select {
		case <-told.Done():
		case <-time.After(5 * time.Second):
			report.Note("waiting for transactions of the source that began before this move to end")
		}
	}()
	// The form without parentheses is understood by every major so far.
	results, err := c.stream.PgConn().Exec(ctx, "CREATE_REPLICATION_SLOT "+c.Name+" LOGICAL pgoutput EXPORT_SNAPSHOT").ReadAll()
	if err == nil && (len(results) != 1 || len(results[0].Rows) != 1 || len(results[0].Rows[0]) < 3) {
		err = errors.New("an answer of another form than the protocol's")
	}
	if err != nil {
		return nil, event.Refuse("see the source's log", "the source makes no replication slot: %s", message(err))
	}
	return c.source.HoldAt(ctx, string(results[0].Rows[0][2]))
}

// EndSnapshot lets go of the session that exported the snapshot, once everybody who needs it has it.
func (c *Channel) EndSnapshot() {
	if c.stream != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		c.stream.Close(ctx) //nolint:errcheck // the server ends a lost session by itself
		c.stream = nil
	}
}

// Close removes slot and publication, also when the caller was told to stop or the source is just coming back.
func (c *Channel) Close(report *event.Reporter) {
	c.EndSnapshot()
	err := c.source.again(func(ctx context.Context, session *pgx.Conn) error {
		if err := dropSlot(ctx, session, c.Name); err != nil || c.source.staysSealed {
			return err
		}
		return dropPublication(ctx, session, c.Name)
	})
	if err != nil {
		report.Left("%s stays behind on the source: %s", c.Name, message(err))
	}
}

// again does something on the source in a new session that may write, until it works or patience ends.
func (s *Source) again(what func(context.Context, *pgx.Conn) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), closePatience)
	defer cancel()
	var why error
	for {
		session, err := s.Server.Connect(ctx, s.Database)
		if err == nil {
			if _, err = session.Exec(ctx, "set default_transaction_read_only = off"); err == nil {
				err = what(ctx, session)
			}
			session.Close(ctx) //nolint:errcheck,gosec // told all it had to
			if err == nil {
				return nil
			}
		}
		if why == nil || ctx.Err() == nil { // what fails for want of time says nothing
			why = err
		}
		select {
		case <-ctx.Done():
			return why
		case <-time.After(10 * lookPause):
		}
	}
}

func dropSlot(ctx context.Context, session *pgx.Conn, name string) error {
	for {
		var pid *int32
		err := session.QueryRow(ctx, "select active_pid from pg_replication_slots where slot_name = $1", name).Scan(&pid)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		if pid == nil {
			// Somebody may take it in this moment; then it is ended in the next round.
			if _, err = session.Exec(ctx, "select pg_drop_replication_slot($1)", name); err == nil {
				return nil
			}
		} else {
			_, err = session.Exec(ctx, "select pg_terminate_backend($1)", *pid)
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(lookPause):
		}
	}
}

func dropPublication(ctx context.Context, session *pgx.Conn, name string) error {
	_, err := session.Exec(ctx, "drop publication if exists "+postgres.Quote(name))
	return err
}

// SweepChannels takes the right to move out of this database, then removes what a move left that died with its machine.
func (s *Source) SweepChannels(ctx context.Context, report *event.Reporter) error {
	// The move that died may have left the source read-only.
	if _, err := s.Session.Exec(ctx, "set default_transaction_read_only = off"); err != nil {
		return fmt.Errorf("preparing the source's session: %w", err)
	}
	return s.sweepChannels(ctx, s.Session, false, report)
}

// TakeBack removes what a move left that died, once its last session has ended. moved: its database is live, and the
// source stays closed to writers.
func (s *Source) TakeBack(moved bool, report *event.Reporter) error {
	return s.again(func(ctx context.Context, session *pgx.Conn) error {
		return s.sweepChannels(ctx, session, moved, report)
	})
}

func (s *Source) sweepChannels(ctx context.Context, session *pgx.Conn, moved bool, report *event.Reporter) error {
	var got bool
	if err := session.QueryRow(ctx, "select pg_try_advisory_lock($1)", channelLock).Scan(&got); err != nil {
		return fmt.Errorf("asking for the source's lock: %w", err)
	}
	if !got {
		return event.Refuse("wait until it has ended", "another move out of this database is under way")
	}
	left, err := postgres.Strings(ctx, session, `select pubname::text from pg_publication where starts_with(pubname::text, $1)
		union select slot_name::text from pg_replication_slots where database = current_database() and starts_with(slot_name::text, $1)`, channelPrefix)
	if err != nil {
		return fmt.Errorf("looking for what earlier moves left: %w", err)
	}
	for _, name := range left {
		report.Note("removing %s, which an interrupted move left on the source", name)
		if err := dropSlot(ctx, session, name); err != nil {
			return stuck(name, err)
		}
	}
	if len(left) > 0 && !moved {
		// Only an interrupted move leaves both: a source that was left for good has no publication any more. So that goes
		// last, for it says to the next one, should this one die, too, that the source may still be closed.
		if err := s.unseal(ctx, session, ""); err != nil {
			return err
		}
	}
	for _, name := range left {
		if err := dropPublication(ctx, session, name); err != nil {
			return stuck(name, err)
		}
	}
	return nil
}

func stuck(name string, err error) error {
	return event.Fail("remove it by hand and run this again", "%s cannot be removed from the source: %s", name, message(err))
}

// Position is how far the source's log is written, and how many bytes of it the subscriber has not confirmed.
func (c *Channel) Position(ctx context.Context) (lag int64, err error) {
	err = c.source.Session.QueryRow(ctx, `select pg_wal_lsn_diff(pg_current_wal_flush_lsn(), confirmed_flush_lsn)::bigint
		from pg_replication_slots where slot_name = $1`, c.Name).Scan(&lag)
	if err != nil {
		return 0, fmt.Errorf("asking how far the changes have come: %w", err)
	}
	return lag, nil
}

// Flush makes everything that was committed so far part of what the subscriber gets, and says up to where that is.
func (c *Channel) Flush(ctx context.Context) (string, error) {
	var position string
	// The message is nobody's to read; committing it writes out all that was committed before it.
	if _, err := c.source.Session.Exec(ctx, "select pg_logical_emit_message(true, 'wepp', '')"); err != nil {
		return "", fmt.Errorf("writing out the source's log: %w", err)
	}
	err := c.source.Session.QueryRow(ctx, "select pg_current_wal_flush_lsn()::text").Scan(&position)
	return position, err
}

// Confirmed is true when the subscriber has everything up to the position.
func (c *Channel) Confirmed(ctx context.Context, position string) (bool, error) {
	var reached bool
	err := c.source.Session.QueryRow(ctx, "select confirmed_flush_lsn >= $2::pg_lsn from pg_replication_slots where slot_name = $1", c.Name, position).Scan(&reached)
	return reached, err
}

// message is a server's own words, or the error's.
func message(err error) string {
	var answer *pgconn.PgError
	if errors.As(err, &answer) {
		return answer.Message
	}
	return err.Error()
}
