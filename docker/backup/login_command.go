package main

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

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
	var err error
	if answer.Own, answer.Why, err = letsIn(ctx, app, nil); err != nil {
		return err
	}
	for _, password := range asked.Passwords {
		in, _, err := letsIn(ctx, app, &password)
		if err != nil {
			return err
		}
		answer.Given = append(answer.Given, in)
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

// letsIn tells whether the server takes a password, and why it does not. An error is one that says nothing about the password.
func letsIn(ctx context.Context, app *app, other *string) (in bool, why string, err error) {
	session, err := login(ctx, app, other)
	if err == nil {
		session.Close(ctx) //nolint:errcheck // it did what it was for
		return true, "", nil
	}
	told := app.server.Refused(postgres.Maintenance(app.settings.Database), err)
	if refusesPassword(err) {
		return false, event.ProblemOf(told).What, nil
	}
	return false, "", event.Midway(told)
}

// login opens a session with the container's own password or, where it is given, another one.
func login(ctx context.Context, app *app, other *string) (*pgx.Conn, error) {
	config, err := app.server.Config(postgres.Maintenance(app.settings.Database))
	if err != nil {
		return nil, err
	}
	if other != nil {
		config.Password = *other
	}
	return pgx.ConnectConfig(ctx, config)
}

// refusesPassword tells a wrong password from a server that does not answer, or asks nobody from here for one (whose
// message names its file in every language).
func refusesPassword(err error) bool {
	var answer *pgconn.PgError
	return errors.As(err, &answer) && (answer.Code == "28P01" || answer.Code == "28000" && !strings.Contains(answer.Message, "pg_hba.conf"))
}
