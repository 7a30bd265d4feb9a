// Package swap owns the moment in which another database becomes the live one: two renames in one transaction.
//
// No door is shut beforehand, so no crash can leave it shut: the rename itself locks the database's name, and whoever
// connects meanwhile waits for that lock (PostgreSQL's InitPostgres and RenameDatabase take the same one). Sessions that
// are there already are ended by a second session while the rename waits for them, which the server does for 5 seconds.
package swap

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
	"wepp.example/backup/internal/scratch"
)

const (
	stamp = "20060102_150405" // UTC, in the names of kept databases
	infix = "_before_"
	// pause between two rounds of ending sessions.
	pause = 50 * time.Millisecond
	// goodbye is what the server may take on a busy machine to see that a client has gone, such as a stopped service.
	goodbye = 2 * time.Second
)

// knowPatience outlasts a server that crashed in the very moment and is recovering; tests have less.
var knowPatience = 60 * time.Second

// Session is somebody connected to the live database who is none of ours.
type Session struct {
	PID         int32  `json:"pid"`
	User        string `json:"user"`
	Application string `json:"application"`
	Address     string `json:"address"`
	State       string `json:"state"`
}

func (s Session) String() string {
	return fmt.Sprintf("%s of %s at %s (process %d, %s)", s.Application, s.User, s.Address, s.PID, s.State)
}

// healthCheck only knocks at the database and goes, but on a busy machine it is a while in the door.
const healthCheck = "pg_isready"

// Strangers are the sessions in the live database that are neither this program's own nor the server's health check.
func Strangers(ctx context.Context, lock *scratch.Lock) ([]Session, error) {
	rows, err := lock.Session.Query(ctx, `select pid, coalesce(usename::text, '') as user,
			coalesce(nullif(application_name, ''), 'a session') as application,
			coalesce(host(client_addr), 'a socket') as address, coalesce(state, '') as state
		from pg_stat_activity
		where datname = $1 and backend_type = 'client backend' and application_name not in ($2, $3) and pid <> pg_backend_pid()
		order by backend_start`, lock.Live, postgres.ApplicationName, healthCheck)
	if err != nil {
		return nil, fmt.Errorf("asking who is connected: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowToStructByName[Session])
}

// RefuseStrangers refuses while somebody else is connected; force ends their sessions at the swap instead.
func RefuseStrangers(ctx context.Context, lock *scratch.Lock, force bool) error {
	var prepared int
	err := lock.Session.QueryRow(ctx, "select count(*) from pg_prepared_xacts where database = $1", lock.Live).Scan(&prepared)
	if err != nil {
		return fmt.Errorf("asking for prepared transactions: %w", err)
	}
	if prepared > 0 {
		return event.Refuse("end them first: COMMIT PREPARED or ROLLBACK PREPARED, see pg_prepared_xacts",
			"%d prepared transactions hold %s", prepared, lock.Live)
	}
	strangers, err := staying(ctx, lock, force)
	if err != nil || force || len(strangers) == 0 {
		return err
	}
	told := make([]string, 0, len(strangers))
	for _, each := range strangers {
		told = append(told, each.String())
	}
	return event.Refuse("stop them, or let --force end their sessions",
		"%d sessions that are none of the stack's services hold %s: %s", len(strangers), lock.Live, strings.Join(told, "; "))
}

// staying are the strangers that are still there after a moment, or at once when nobody minds them.
func staying(ctx context.Context, lock *scratch.Lock, nobodyMinds bool) ([]Session, error) {
	for until := time.Now().Add(goodbye); ; {
		found, err := Strangers(ctx, lock)
		if err != nil || nobodyMinds || len(found) == 0 || time.Now().After(until) {
			return found, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

// Swap makes the database `incoming` the live one; the live one is kept under the name that is returned ("" when there
// was none). carry: settings, rights and owner of the live database go over to the new one. about: for Kept.
// Whatever happens, afterwards the old or the new one is live, whole. An error means the old one, unless it is unknown
// (event.IsUnknown): then the server has gone away in the commit and does not come back to tell.
func Swap(ctx context.Context, lock *scratch.Lock, incoming string, carry bool, about string) (string, error) {
	wanted, err := oid(ctx, lock.Session, incoming)
	if err != nil {
		return "", err
	}
	kept := ""
	if before, err := oid(ctx, lock.Session, lock.Live); err != nil {
		return "", err
	} else if before != 0 {
		if kept, err = freeName(ctx, lock); err != nil {
			return "", err
		}
	}
	process := lock.Session.PgConn().PID()
	err = rename(ctx, lock, incoming, kept, carry, about)
	if err == nil {
		return kept, nil
	}
	// A session lost in the commit does not tell which way it went; the server does.
	if lock.Session.IsClosed() {
		now, unknown := liveAfter(lock, process)
		if unknown != nil {
			return "", event.Unknown("once the server runs (`invoke compose-up`), `invoke db-prune --dry-run` tells: if it lists "+kept+", they were swapped",
				"whether %s was swapped is not known, the server went away and does not answer: %s", lock.Live, unknown)
		}
		if now == wanted {
			return kept, nil
		}
	}
	var answer *pgconn.PgError
	if errors.As(err, &answer) && answer.Code == "55006" {
		return "", event.Refuse("end that process on the server by hand (see pg_stat_activity), then run it again",
			"sessions that do not let go hold %s: %s", lock.Live, answer.Detail)
	}
	return "", event.Fail("see the server's log, then run it again", "the swap did not take place, the %s from before it is live: %s", lock.Live, err)
}

func rename(ctx context.Context, lock *scratch.Lock, incoming, kept string, carry bool, about string) error {
	stop, err := endSessions(ctx, lock, incoming)
	if err != nil {
		return err
	}
	defer stop()
	transaction, err := lock.Session.Begin(ctx)
	if err != nil {
		return err
	}
	defer transaction.Rollback(context.Background()) //nolint:errcheck // after a commit there is nothing to take back
	var statements []string
	if kept != "" {
		if carry {
			carried, err := carriedOver(ctx, transaction, lock.Live, incoming)
			if err != nil {
				return err
			}
			statements = append(statements, carried...)
		}
		statements = append(statements,
			"alter database "+postgres.Quote(lock.Live)+" rename to "+postgres.Quote(kept),
			"comment on database "+postgres.Quote(kept)+" is "+postgres.Literal(about))
	}
	statements = append(statements, "alter database "+postgres.Quote(incoming)+" rename to "+postgres.Quote(lock.Live))
	for _, statement := range statements {
		if _, err := transaction.Exec(ctx, statement); err != nil {
			return err
		}
	}
	return transaction.Commit(ctx)
}

// freeName is the name under which the live database will be kept: of this second, or of the next that is not taken.
func freeName(ctx context.Context, lock *scratch.Lock) (string, error) {
	for when := time.Now().UTC(); ; when = when.Add(time.Second) {
		name := fmt.Sprintf("%.40s%s%s", lock.Live, infix, when.Format(stamp))
		if taken, err := oid(ctx, lock.Session, name); err != nil || taken == 0 {
			return name, err
		}
	}
}

// endSessions ends what is connected to both databases, again and again until the returned function is called.
func endSessions(ctx context.Context, lock *scratch.Lock, incoming string) (func(), error) {
	session, err := lock.Server.Connect(ctx, postgres.Maintenance(lock.Live))
	if err != nil {
		return nil, event.Midway(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer session.Close(context.Background()) //nolint:errcheck // nothing depends on it
		for ctx.Err() == nil {
			// A session that may not be ended by us makes the rename give up, which is then told.
			_, _ = session.Exec(ctx, "select pg_terminate_backend(pid) from pg_stat_activity where datname in ($1, $2) and pid <> pg_backend_pid()",
				lock.Live, incoming)
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
		}
	}()
	return func() { cancel(); <-ended }, nil
}

// liveAfter tells which database is live once the session that swapped has ended for certain: its client may be gone
// while the server still commits for it. The server gets the time it takes to recover.
func liveAfter(lock *scratch.Lock, process uint32) (uint32, error) {
	ctx, cancel := context.WithTimeout(context.Background(), knowPatience)
	defer cancel()
	var number uint32
	err := persist(ctx, lock.Server, lock.Live, lock.Report, func(session *pgx.Conn) error {
		for {
			var left int
			// The number may be another's by now; what was committed is answered either way.
			err := session.QueryRow(ctx, `select count(pg_terminate_backend(pid))::int from pg_stat_activity
				where pid = $1 and application_name = $2`, int64(process), postgres.ApplicationName).Scan(&left)
			if err != nil {
				return err
			}
			if left == 0 {
				break
			}
			time.Sleep(pause)
		}
		var err error
		number, err = oid(ctx, session, lock.Live)
		return err
	})
	return number, err
}

// persist does something in a new session, again and again until it works or the context ends.
func persist(ctx context.Context, server postgres.Server, live string, report *event.Reporter, what func(*pgx.Conn) error) error {
	for {
		session, err := server.Connect(ctx, postgres.Maintenance(live))
		if err == nil {
			err = what(session)
			session.Close(ctx) //nolint:errcheck,gosec // told all it had to
		}
		if err == nil {
			return nil
		}
		report.Lost()
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}

func oid(ctx context.Context, session *pgx.Conn, database string) (uint32, error) {
	var number uint32
	err := session.QueryRow(ctx, "select coalesce((select oid from pg_database where datname = $1), 0)", database).Scan(&number)
	return number, err
}
