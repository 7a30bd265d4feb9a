package scratch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"wepp.example/backup/internal/event"
	"wepp.example/backup/internal/postgres"
)

const (
	infix = "_incoming_"
	// dropPatience outlasts a server that is just recovering from a crash, and ends before the asker's own.
	dropPatience = 45 * time.Second
)

// Database is one scratch database.
type Database struct {
	Name string
	lock *Lock
}

// Locale is how a database sorts and encodes. Provider is that of pg_database.datlocprovider: c, i or b.
type Locale struct {
	Encoding, Collate, Ctype, Provider, Locale, Rules string
}

// LocaleOf is the locale of a database; ok is false when there is no such database.
func LocaleOf(ctx context.Context, session *pgx.Conn, database string) (locale Locale, ok bool, err error) {
	// Majors differ in the column's name: daticulocale in 15 and 16, datlocale since 17, none before.
	err = session.QueryRow(ctx, `select pg_encoding_to_char(encoding), datcollate::text, datctype::text,
			coalesce(to_jsonb(d)->>'datlocprovider', 'c'),
			coalesce(to_jsonb(d)->>'datlocale', to_jsonb(d)->>'daticulocale', ''), coalesce(to_jsonb(d)->>'daticurules', '')
		from pg_database d where datname = $1`, database).
		Scan(&locale.Encoding, &locale.Collate, &locale.Ctype, &locale.Provider, &locale.Locale, &locale.Rules)
	if errors.Is(err, pgx.ErrNoRows) {
		return locale, false, nil
	}
	return locale, err == nil, err
}

// Create makes an empty scratch database of that locale; the zero locale means the server's own.
func Create(ctx context.Context, lock *Lock, locale Locale) (*Database, error) {
	made := &Database{Name: fmt.Sprintf("%.40s%s%d", lock.Live, infix, time.Now().UnixMilli()), lock: lock}
	statement := "create database " + postgres.Quote(made.Name) + " template template0" + locale.clause()
	if _, err := lock.Session.Exec(ctx, statement); err != nil {
		var answer *pgconn.PgError
		if errors.As(err, &answer) && answer.Code == "42501" && answer.Routine == "createdb" { // a disk that takes nothing has the code, too
			return nil, event.Refuse("let a superuser run: ALTER ROLE "+lock.Server.User+" CREATEDB",
				"%s may not make databases on this server", lock.Server.User)
		}
		return nil, fmt.Errorf("making %s: %w", made.Name, err)
	}
	return made, nil
}

func (l Locale) clause() string {
	if l == (Locale{}) {
		return ""
	}
	clause := " encoding " + postgres.Literal(l.Encoding) +
		" lc_collate " + postgres.Literal(l.Collate) + " lc_ctype " + postgres.Literal(l.Ctype)
	switch l.Provider {
	case "i":
		clause += " locale_provider icu icu_locale " + postgres.Literal(l.Locale)
		if l.Rules != "" {
			clause += " icu_rules " + postgres.Literal(l.Rules)
		}
	case "b":
		clause += " locale_provider builtin builtin_locale " + postgres.Literal(l.Locale)
	}
	return clause
}

// Drop removes the database, also when the caller was told to stop or the server is just coming back.
func (d *Database) Drop(report *event.Reporter) {
	ctx, cancel := context.WithTimeout(context.Background(), dropPatience)
	defer cancel()
	statement := "drop database if exists " + postgres.Quote(d.Name) + " with (force)"
	for session := d.lock.Session; ; {
		err := unsubscribe(ctx, d.lock.Server, session, d.Name)
		if err == nil {
			_, err = session.Exec(ctx, statement)
		}
		if err == nil {
			return
		}
		if session.IsClosed() {
			report.Lost()
		}
		select {
		case <-ctx.Done():
			report.Note("%s could not be dropped (%s); the next restore does it", d.Name, err)
			return
		case <-time.After(time.Second):
		}
		if another, err := d.lock.Server.Connect(ctx, postgres.Maintenance(d.lock.Live)); err == nil {
			defer another.Close(context.Background()) //nolint:errcheck // the process ends soon after
			session = another
		}
	}
}

// Connect opens a session in the database.
func (d *Database) Connect(ctx context.Context) (*pgx.Conn, error) {
	session, err := d.lock.Server.Connect(ctx, d.Name)
	return session, event.Midway(err)
}
