// Package scratch owns the database that a dump is loaded into beside the live one: who may make it, how it is made like
// the live one, loaded, and removed on every way out.
package scratch

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"wepp.example/backup/internal/event"
	"wepp.example/backup/internal/postgres"
)

const (
	// lockKey is our number among the server's advisory locks ("wepp" in ASCII).
	lockKey = 0x77657070
	// patience is for an earlier run that was killed and is still taking back what it prepared.
	patience = 15 * time.Second
	// longPatience is for one that has every step of that before it.
	longPatience = 2 * dropPatience
	lookPause    = 250 * time.Millisecond
)

// Lock is the right to change databases of a server; one holder at a time. It ends with its session, however that ends.
type Lock struct {
	Server  postgres.Server
	Live    string    // name of the application's database
	Session *pgx.Conn // to the maintenance database; holds the lock
	Report  *event.Reporter
}

// trialName is the application name of a test restore's session, by which others know that it may be interrupted.
const trialName = postgres.ApplicationName + " trial"

// Take waits a moment for the lock and removes what earlier runs left behind. Refuses when another run goes on; a test
// restore is ended instead, for nobody waits for that.
func Take(ctx context.Context, server postgres.Server, live string, report *event.Reporter) (*Lock, error) {
	return take(ctx, server, live, report, patience, false)
}

// TakeAfter is Take for whoever takes back what a dead run left, which may itself be doing so yet.
func TakeAfter(ctx context.Context, server postgres.Server, live string, report *event.Reporter) (*Lock, error) {
	return take(ctx, server, live, report, longPatience, false)
}

// TakeForTrial is Take for a test restore: it ends nothing and gives way to everything else.
func TakeForTrial(ctx context.Context, server postgres.Server, live string, report *event.Reporter) (*Lock, error) {
	return take(ctx, server, live, report, patience, true)
}

func take(ctx context.Context, server postgres.Server, live string, report *event.Reporter, patience time.Duration, trial bool) (*Lock, error) {
	session, err := server.Connect(ctx, postgres.Maintenance(live))
	if err != nil {
		return nil, err
	}
	lock := &Lock{Server: server, Live: live, Session: session, Report: report}
	until := time.Now().Add(patience)
	for told := false; ; told = true {
		var got bool
		if err := session.QueryRow(ctx, "select pg_try_advisory_lock($1)", lockKey).Scan(&got); err != nil {
			lock.Release()
			return nil, fmt.Errorf("asking for the lock: %w", err)
		}
		if got {
			break
		}
		if time.Now().After(until) {
			defer lock.Release()
			return nil, lock.taken(ctx)
		}
		if !trial && lock.endTrial(ctx) {
			report.Note("a test restore was under way; it gives way")
		} else if !told {
			report.Note("another restore, drill or move is under way on this server, or is just being taken back; waiting")
		}
		select {
		case <-ctx.Done():
			lock.Release()
			return nil, ctx.Err()
		case <-time.After(lookPause):
		}
	}
	if err := lock.sweep(ctx, report); err != nil {
		lock.Release()
		return nil, err
	}
	if trial {
		if _, err := session.Exec(ctx, "set application_name = "+postgres.Literal(trialName)); err != nil {
			lock.Release()
			return nil, fmt.Errorf("marking the session: %w", err)
		}
	}
	return lock, nil
}

// endTrial ends the session of the test restore that holds the lock, if one does.
func (l *Lock) endTrial(ctx context.Context) bool {
	var ended bool
	err := l.Session.QueryRow(ctx, `select coalesce(bool_or(pg_terminate_backend(a.pid)), false)
		from pg_locks k join pg_stat_activity a using (pid)
		where k.locktype = 'advisory' and k.objid = $1 and k.granted and a.application_name = $2`, int64(lockKey), trialName).Scan(&ended)
	return err == nil && ended
}

// Renew takes the lock again where its session was lost, as soon as the server is back. To be called when somebody
// outside was waited for; what was done before the loss stands.
func (l *Lock) Renew(ctx context.Context) error {
	if !l.Session.IsClosed() && l.Session.Ping(ctx) == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, dropPatience)
	defer cancel()
	for {
		session, err := l.Server.Connect(ctx, postgres.Maintenance(l.Live))
		if err == nil {
			l.Session = session
			var got bool
			if err = session.QueryRow(ctx, "select pg_try_advisory_lock($1)", lockKey).Scan(&got); err == nil && got {
				return nil
			}
			if err == nil {
				defer l.Release()
				return l.taken(ctx)
			}
			l.Release()
		}
		l.Report.Lost()
		select {
		case <-ctx.Done():
			return fmt.Errorf("the server did not come back: %w", err)
		case <-time.After(lookPause):
		}
	}
}

// Standing is the number of the live database (0: there is none), and whether somebody holds the lock. session: to the
// maintenance database.
func Standing(ctx context.Context, session *pgx.Conn, live string) (number uint32, changing bool, err error) {
	err = session.QueryRow(ctx, `select coalesce((select oid from pg_database where datname = $1), 0),
		exists (select from pg_locks where locktype = 'advisory' and objid = $2 and granted)`, live, int64(lockKey)).Scan(&number, &changing)
	return number, changing, err
}

// Release gives the lock back.
func (l *Lock) Release() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	l.Session.Close(ctx) //nolint:errcheck,gosec // the server lets go of a lost session by itself
}

func (l *Lock) taken(ctx context.Context) error {
	var since time.Time
	var address string
	err := l.Session.QueryRow(ctx, `select a.backend_start, coalesce(host(a.client_addr), 'a socket')
		from pg_locks k join pg_stat_activity a using (pid)
		where k.locktype = 'advisory' and k.objid = $1 and k.granted`, int64(lockKey)).Scan(&since, &address)
	if err != nil {
		return event.Refuse("run it again", "another restore, drill or move was under way on this server")
	}
	return event.Refuse("wait until it has ended, then run this again",
		"another restore, drill or move is under way on this server since %s (from %s)", since.UTC().Format(time.RFC3339), address)
}

// sweep drops scratch databases: their maker held the lock and does so no more.
func (l *Lock) sweep(ctx context.Context, report *event.Reporter) error {
	names, err := postgres.Strings(ctx, l.Session,
		"select datname::text from pg_database where starts_with(datname::text, $1)", l.Live+infix)
	if err != nil {
		return fmt.Errorf("looking for what earlier runs left: %w", err)
	}
	for _, name := range names {
		report.Note("removing %s, which an interrupted run left", name)
		if err := unsubscribe(ctx, l.Server, l.Session, name); err != nil {
			return err
		}
		if _, err := l.Session.Exec(ctx, "drop database if exists "+postgres.Quote(name)+" with (force)"); err != nil {
			return fmt.Errorf("dropping %s: %w", name, err)
		}
	}
	return nil
}

// major is the server's.
func (l *Lock) major(ctx context.Context) (int, error) {
	var here int
	if err := l.Session.QueryRow(ctx, "select current_setting('server_version_num')::int / 10000").Scan(&here); err != nil {
		return 0, fmt.Errorf("asking for the version: %w", err)
	}
	return here, nil
}
