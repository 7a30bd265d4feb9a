package main

import (
	"context"

	"github.com/jackc/pgx/v5"

	"wepp.example/backup/internal/event"
	"wepp.example/backup/internal/lease"
	"wepp.example/backup/internal/postgres"
)

func init() {
	menu["password"] = command{about: "give our own role another password, all of it from standard input", run: runPassword}
}

// change is the word that `password` waits for.
type change struct {
	Passwords []string `json:"passwords"` // one of them logs in now
	Verifier  string   `json:"verifier"`  // SCRAM-SHA-256$..., what the server shall keep (RFC 5803)
}

// runPassword: ready (the role), then one line of JSON (change); result (the role). The new password itself is never
// here: what the server gets, and may write into its log, is the verifier.
func runPassword(ctx context.Context, app *app, args []string) error {
	if err := parse(newFlags("password"), args); err != nil {
		return err
	}
	ctx, asker := lease.Begin(ctx, app.input)
	var asked change
	if err := hear(ctx, app, asker, &asked); err != nil {
		return err
	}
	if asked.Verifier == "" {
		return errNoWord
	}
	session, err := loginWithOneOf(ctx, app, asked.Passwords)
	if err != nil {
		return err
	}
	defer session.Close(context.Background()) //nolint:errcheck // it did what it was for
	// One transaction. A program that was killed leaves its session behind, which does what it was told when it can:
	// whoever comes after waits for that, or the older word would win.
	statements := "SELECT pg_advisory_xact_lock(hashtextextended('wepp-stack: password of a role', 0)); " +
		"ALTER ROLE " + postgres.Quote(app.server.User) + " PASSWORD " + postgres.Literal(asked.Verifier)
	if _, err := session.PgConn().Exec(ctx, statements).ReadAll(); err != nil {
		return event.Fail("see the server's log", "the server did not take the new password: %s", err)
	}
	app.report.Result(app.server.User, "%s has another password", app.server.User)
	return nil
}

func loginWithOneOf(ctx context.Context, app *app, passwords []string) (*pgx.Conn, error) {
	for _, password := range passwords {
		session, err := login(ctx, app, &password)
		if err == nil {
			return session, nil
		}
		if !refusesPassword(err) {
			return nil, app.server.Refused(postgres.Maintenance(app.settings.Database), err)
		}
	}
	return nil, event.Refuse("set POSTGRES_PASSWORD in .env to the one that the server knows",
		"the server at %s:%s refuses the password of %s", app.server.Host, app.server.Port, app.server.User)
}
