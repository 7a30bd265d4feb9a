package main

import (
	"context"
	"runtime"

	"github.com/jackc/pgx/v5"

	"wepp.example/backup/internal/event"
	"wepp.example/backup/internal/lease"
	"wepp.example/backup/internal/postgres"
	"wepp.example/backup/internal/scratch"
	"wepp.example/backup/internal/source"
	"wepp.example/backup/internal/transfer"
)

func init() {
	menu["migrate"] = command{about: "move a database in through a relay: --relay FOLDER --user U --dbname D [--live] [--force]", run: runMigrate}
}

// runMigrate: ready (the plan), `go`; ready (loaded beside and compared), `swap`; ready (swapped), `keep` or `back`.
func runMigrate(ctx context.Context, app *app, args []string) error {
	flags := newFlags("migrate")
	relay := flags.String("relay", "", "folder of the relay's socket, as this container sees it")
	fromServer := flags.String("relay-from-server", "", "the same folder, as the stack's server sees it")
	user := flags.String("user", "", "of the source")
	database := flags.String("dbname", "", "of the source")
	jobs := flags.Int("jobs", 0, "at a time; 0: one per processor")
	live := flags.Bool("live", false, "let the source be written meanwhile, by logical replication")
	force := flags.Bool("force", false, "leave changes behind that were made meanwhile, convert encodings, end strangers' sessions")
	if err := parse(flags, args); err != nil {
		return err
	}
	if *jobs < 1 {
		*jobs = runtime.NumCPU()
	}
	if *relay == "" || *user == "" || *database == "" {
		return event.Usage("give --relay, --user and --dbname", "migrate does not know from where")
	}
	ctx, asker := lease.Begin(ctx, app.input)
	from, err := source.Open(ctx, postgres.Server{Host: *relay, Port: "5432", User: *user}, *database)
	if err != nil {
		return err
	}
	defer from.Close()
	move := &transfer.Move{
		Source: from, Target: app.server, Database: app.settings.Database, Folder: app.settings.Folder,
		FromHere: *fromServer, Jobs: *jobs, Live: *live, Force: *force, Report: app.report,
		Revision: func(ctx context.Context, session *pgx.Conn) (string, error) {
			revisions, err := revisionsOf(ctx, session)
			return first(revisions), err
		},
	}
	lock, err := scratch.Take(ctx, app.server, app.settings.Database, app.report)
	if err != nil {
		return err
	}
	defer lock.Release()
	plan, err := move.Plan(ctx, lock)
	if err == nil {
		err = plan.Refusal()
	}
	if err != nil {
		return err
	}
	app.report.Ready(plan)
	if word, err := asker.Word(ctx); err != nil || word != "go" {
		return calledOff(err)
	}
	answer, err := move.Run(ctx, plan, lock, func(ready any) (string, error) {
		app.report.Ready(ready)
		return asker.Word(ctx)
	})
	if err != nil {
		return err
	}
	app.report.Result(answer, "moved %d rows in %d tables", answer.Rows, len(answer.Tables))
	return nil
}
