package main

import (
	"context"

	"wepp.example/backup/internal/event"
	"wepp.example/backup/internal/postgres"
	"wepp.example/backup/internal/scratch"
	"wepp.example/backup/internal/source"
	"wepp.example/backup/internal/swap"
	"wepp.example/backup/internal/transfer"
)

func init() {
	menu["takeback"] = command{about: "remove what a move left that died: [--before NUMBER] [--relay FOLDER --user U --dbname D]", run: runTakeBack}
}

// runTakeBack clears the stack's side and, with a relay, the source's: the subscription must go before the slot can.
func runTakeBack(ctx context.Context, app *app, args []string) error {
	flags := newFlags("takeback")
	before := flags.Int64("before", -1, "number of the database that was live before the move, 0 for none; without it: it did not come to a swap")
	relay := flags.String("relay", "", "folder of the relay's socket, as this container sees it; empty: the move wrote nothing to its source")
	user := flags.String("user", "", "of the source")
	database := flags.String("dbname", "", "of the source")
	if err := parse(flags, args); err != nil {
		return err
	}
	if *relay != "" && (*user == "" || *database == "") {
		return event.Usage("give --user and --dbname, too", "takeback does not know from where")
	}
	ctx = app.asked(ctx)
	// The server may have died, too; it is waited for.
	if _, err := swap.Look(ctx, app.server, app.settings.Database, app.report); err != nil {
		return err
	}
	lock, err := scratch.TakeAfter(ctx, app.server, app.settings.Database, app.report)
	if err != nil {
		return err
	}
	defer lock.Release()
	live, err := swap.LiveID(ctx, lock)
	if err != nil {
		return err
	}
	moved := *before >= 0 && int64(live) != *before
	transfer.TakeBack(ctx, lock, app.settings.Folder, moved, app.report)
	if *relay != "" {
		from := &source.Source{Server: postgres.Server{Host: *relay, Port: "5432", User: *user}, Database: *database}
		if err := from.TakeBack(moved, app.report); err != nil {
			return err
		}
	}
	app.report.Result(map[string]any{"moved": moved}, "nothing of the move is left")
	return nil
}
