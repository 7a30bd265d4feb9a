package main

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"wepp.example/backup/internal/event"
	"wepp.example/backup/internal/lease"
	"wepp.example/backup/internal/postgres"
)

func init() {
	menu["login"] = command{about: "log in as the services do, and with passwords given on standard input", run: runLogin}
}

// attempts is the word that `login` waits for: further passwords to try.
type attempts struct {
	Passwords []string `json:"passwords"`
}

// logins is the answer of `login`: whether the container's own password lets it in, and whether each given one does.
type logins struct {
	Own   bool   `json:"own"`
	Why   string `json:"why"` // why the own one does not
	Given []bool `json:"given"`
}

// runLogin: ready, then one line of JSON (attempts); result (logins).
func runLogin(ctx context.Context, app *app, args []string) error {
	if err := parse(newFlags("login"), args); err != nil {
		return err
	}
	ctx, asker := lease.Begin(ctx, app.input)
	var asked attempts
	if err := hear(ctx, app, asker, &asked); err != nil {
		return err
	}
	answer := logins{Given: []bool{}}
	session, err := app.server.Connect(ctx, postgres.Maintenance(app.settings.Database))
	if err == nil {
		session.Close(ctx) //nolint:errcheck // it did what it was for
		answer.Own = true
	} else {
		answer.Why = event.ProblemOf(err).What
	}
	for _, password := range asked.Passwords {
		session, err := loginWith(ctx, app, password)
		if err == nil {
			session.Close(ctx) //nolint:errcheck // it did what it was for
		} else if !refusesPassword(err) {
			return err
		}
		answer.Given = append(answer.Given, err == nil)
	}
	app.report.Result(answer, "logged in: %t", answer.Own)
	return nil
}

// The word may hold a password: what is wrong with it is not told.
var errNoWord = event.Usage("this is a command for the tasks, see `invoke --list`", "the word on standard input is not what this command waits for")

// hear says ready, with our role's name, and reads one line of JSON into asked.
func hear(ctx context.Context, app *app, asker *lease.Lease, asked any) error {
	app.report.Ready(app.server.User)
	word, err := asker.Word(ctx)
	if err != nil {
		return err
	}
	if json.Unmarshal([]byte(word), asked) != nil {
		return errNoWord
	}
	return nil
}

// loginWith opens a session with this password instead of the container's own.
func loginWith(ctx context.Context, app *app, password string) (*pgx.Conn, error) {
	config, err := app.server.Config(postgres.Maintenance(app.settings.Database))
	if err != nil {
		return nil, err
	}
	config.Password = password
	return pgx.ConnectConfig(ctx, config)
}

// refusesPassword tells a wrong password from a server that does not answer.
func refusesPassword(err error) bool {
	var answer *pgconn.PgError
	return errors.As(err, &answer) && (answer.Code == "28P01" || answer.Code == "28000")
}
