package main

import (
	"context"
	"strings"

	"wepp.example/backup/internal/event"
	"wepp.example/backup/internal/lease"
	"wepp.example/backup/internal/scratch"
	"wepp.example/backup/internal/swap"
)

func init() {
	menu["rollback"] = command{about: "make a kept database the live one again: [--to NAME] [--force]", run: runRollback}
	menu["live"] = command{about: "tell which database is live, by its number, and which was kept last", run: runLive}
	menu["kept"] = command{about: "list the databases that earlier swaps kept", run: runKept}
	menu["forget"] = command{about: "drop kept databases for good: --names A,B", run: runForget}
}

// swapped is what a swap did: the name of the live database and the name under which the one before is kept.
type swapped struct {
	Database string `json:"database"`
	Kept     string `json:"kept"`
}

// runRollback: ready (what would become live), `go`; ready (swapped), `keep` or `back`.
func runRollback(ctx context.Context, app *app, args []string) error {
	flags := newFlags("rollback")
	to := flags.String("to", "", "the kept database; empty: the newest")
	force := flags.Bool("force", false, "end the sessions of strangers")
	if err := parse(flags, args); err != nil {
		return err
	}
	ctx, asker := lease.Begin(ctx, app.input)
	lock, err := scratch.Take(ctx, app.server, app.settings.Database, app.report)
	if err != nil {
		return err
	}
	defer lock.Release()
	kept, err := swap.List(ctx, lock.Session, lock.Live)
	if err != nil {
		return err
	}
	chosen, err := swap.Choose(kept, *to)
	if err != nil {
		return err
	}
	number, err := swap.LiveID(ctx, lock)
	if err != nil {
		return err
	}
	app.report.Ready(struct {
		swap.Kept
		LiveID uint32 `json:"live_id"`
	}{chosen, number})
	if word, err := asker.Word(ctx); err != nil || word != "swap" {
		return calledOff(err)
	}
	if err := swap.RefuseStrangers(ctx, lock, *force); err != nil {
		return err
	}
	done, err := exchange(ctx, lock, chosen.Name, false, "replaced by a rollback to "+chosen.Name)
	if err != nil {
		return err
	}
	return settle(ctx, app, lock, asker, done)
}

func exchange(ctx context.Context, lock *scratch.Lock, incoming string, carry bool, about string) (swapped, error) {
	kept, err := swap.Swap(ctx, lock, incoming, carry, about)
	return swapped{Database: lock.Live, Kept: kept}, err
}

// settle tells that the swap is done and hears whether it may stay: `keep` the earlier database, `drop` it, or `back`.
// Whoever falls silent now leaves the new database live and the earlier one kept.
func settle(ctx context.Context, app *app, lock *scratch.Lock, asker *lease.Lease, done swapped) error {
	app.report.Ready(done)
	word, _ := asker.Word(ctx)
	// The asker may be gone; what is begun here is ended.
	ctx = context.WithoutCancel(ctx)
	switch {
	case word == "back" && done.Kept != "":
		tried, err := swap.Back(ctx, lock, done.Kept)
		if err != nil {
			return err
		}
		app.report.Result(swapped{Database: lock.Live, Kept: tried}, "swapped back; what was tried is kept as %s", tried)
		return nil
	case word == "drop" && done.Kept != "":
		err := lock.Renew(ctx)
		if err == nil {
			err = swap.Drop(ctx, lock, done.Kept)
		}
		if err != nil {
			// What was asked for is done; this is the rest of it.
			app.report.Note("%s is still kept, for it could not be dropped (%s): `invoke db-prune` does it", done.Kept, err)
			break
		}
		done.Kept = ""
	}
	app.report.Result(done, "%s is live", done.Database)
	return nil
}

func calledOff(err error) error {
	if err != nil {
		return err
	}
	return event.Refuse("run it again", "it was called off; nothing was changed")
}

func runLive(ctx context.Context, app *app, args []string) error {
	if err := parse(newFlags("live"), args); err != nil {
		return err
	}
	found, err := swap.Look(app.asked(ctx), app.server, app.settings.Database, app.report)
	if err != nil {
		return err
	}
	app.report.Result(found, "%s is number %d, kept last: %s", found.Database, found.ID, found.Kept)
	return nil
}

func runKept(ctx context.Context, app *app, args []string) error {
	if err := parse(newFlags("kept"), args); err != nil {
		return err
	}
	session, err := app.server.Connect(ctx, app.settings.Database)
	if err != nil {
		return err
	}
	defer session.Close(context.Background()) //nolint:errcheck // told all it had to
	kept, err := swap.List(ctx, session, app.settings.Database)
	if err != nil {
		return err
	}
	app.report.Result(kept, "%d databases are kept", len(kept))
	return nil
}

func runForget(ctx context.Context, app *app, args []string) error {
	flags := newFlags("forget")
	names := flags.String("names", "", "names of kept databases, separated by commas")
	if err := parse(flags, args); err != nil {
		return err
	}
	lock, err := scratch.Take(ctx, app.server, app.settings.Database, app.report)
	if err != nil {
		return err
	}
	defer lock.Release()
	dropped := []string{}
	for _, name := range strings.Split(*names, ",") {
		if err := swap.Drop(ctx, lock, name); err != nil {
			return err
		}
		dropped = append(dropped, name)
	}
	app.report.Result(dropped, "%d databases were dropped", len(dropped))
	return nil
}
