package main

import (
	"context"
	"path/filepath"
	"syscall"
	"time"

	"wepp.example/backup/internal/backup"
	"wepp.example/backup/internal/census"
	"wepp.example/backup/internal/drill"
	"wepp.example/backup/internal/event"
	"wepp.example/backup/internal/health"
	"wepp.example/backup/internal/hook"
	"wepp.example/backup/internal/lease"
	"wepp.example/backup/internal/schedule"
	"wepp.example/backup/internal/vault"
)

func init() {
	menu["dump"] = command{about: "make one verified backup now", run: runDump}
	menu["keep"] = command{about: "make backups and test restores whenever they are due, and prune", run: runKeep}
	menu["list"] = command{about: "list the backups", run: runList}
	menu["drill"] = command{about: "restore a backup on trial: [--dump NAME]", run: runDrill}
	menu["health"] = command{about: "say whether the backups are well", run: runHealth}
}

// goodbye is how long a message may still take when there is nothing else left to do.
const goodbye = 10 * time.Second

func (app *app) vault() vault.Vault {
	return vault.Vault{Folder: app.settings.Folder, Database: app.settings.Database}
}

// backUp makes one backup and remembers how it went; told says it to whoever watches.
func (app *app) backUp(ctx context.Context, told func(hook.Message)) (backup.Made, error) {
	// What is in a dump is nobody else's business.
	syscall.Umask(0o077)
	folder := app.vault()
	attempt := vault.Attempt{Started: time.Now().UTC()}
	if err := folder.WriteAttempt(attempt); err != nil {
		app.report.Note("the try is not remembered: %s", err)
	}
	maker := backup.Maker{Server: app.server, Vault: folder, Report: app.report, Now: time.Now, Free: backup.FreeBytes}
	made, err := maker.Make(ctx)
	attempt.Ended, attempt.OK, attempt.Name = time.Now().UTC(), err == nil, made.Name
	message := hook.Message{Event: "backup", OK: attempt.OK, Database: app.settings.Database, Time: attempt.Ended}
	if err != nil {
		attempt.Name, attempt.Problem = "", event.ProblemOf(err).What
		message.Problem = attempt.Problem
	} else {
		message.Name, message.Bytes, message.Rows, message.Seconds = made.Name, made.Bytes, made.Rows, made.Seconds
	}
	if err := folder.WriteAttempt(attempt); err != nil {
		app.report.Note("the try is not remembered: %s", err)
	}
	told(message)
	return made, err
}

// drillOne restores one dump on trial; of one among the backups it is remembered how it went. An error means that it
// could not be tried.
func (app *app) drillOne(ctx context.Context, path string, told func(hook.Message)) (vault.Drill, error) {
	folder, name := app.vault(), filepath.Base(path)
	outcome, err := drill.Run(ctx, app.server, app.settings.Database, path, app.report)
	if path != folder.Path(name) {
		return outcome, err
	}
	message := hook.Message{Event: "drill", OK: err == nil && outcome.OK, Database: app.settings.Database, Name: name, Time: time.Now().UTC()}
	if err != nil {
		message.Problem = event.ProblemOf(err).What
		told(message)
		return outcome, err
	}
	message.Rows, message.Seconds, message.Problem = outcome.Rows, outcome.Seconds, outcome.Problem
	told(message)
	if err := vault.WriteDrill(path, outcome); err != nil {
		return outcome, err
	}
	return outcome, folder.WriteLastDrill(vault.LastDrill{Name: name, Drill: outcome})
}

// asked begins a lease when a program asks; a person's or cron's input may well be empty from the start.
func (app *app) asked(ctx context.Context) context.Context {
	if !app.asJSON {
		return ctx
	}
	ctx, _ = lease.Begin(ctx, app.input)
	return ctx
}

// tellNow posts a message after the answer was given.
func (app *app) tellNow(message hook.Message) {
	if message.Event == "" {
		return // a dump from elsewhere was tried: none of the backups' business
	}
	ctx, cancel := context.WithTimeout(context.Background(), goodbye)
	defer cancel()
	app.watcher().Tell(ctx, message)
}

// watcher is whoever watches over the backups.
func (app *app) watcher() hook.Hook {
	address, err := app.settings.Hook()
	if err != nil {
		app.report.Note("nobody is told, BACKUP_HOOK_URL_FILE cannot be read: %s", err)
	}
	return hook.New(address, app.report)
}

func runDump(ctx context.Context, app *app, args []string) error {
	if err := parse(newFlags("dump"), args); err != nil {
		return err
	}
	var message hook.Message
	made, err := app.backUp(app.asked(ctx), func(told hook.Message) { message = told })
	if err == nil {
		app.report.Result(made, "%s: %d bytes, %d rows, %.1f s", made.Path, made.Bytes, made.Rows, made.Seconds)
	}
	app.tellNow(message)
	return err
}

// listed is the answer of `list`.
type listed struct {
	Backups []vault.Entry   `json:"backups"`
	Attempt vault.Attempt   `json:"attempt"`
	Drill   vault.LastDrill `json:"drill"`
	OK      bool            `json:"ok"`
	Health  string          `json:"health"`
	Now     time.Time       `json:"now"`
}

func runList(_ context.Context, app *app, args []string) error {
	if err := parse(newFlags("list"), args); err != nil {
		return err
	}
	folder, now := app.vault(), time.Now().UTC()
	entries, err := folder.List()
	if err != nil {
		return err
	}
	answer := listed{Backups: append([]vault.Entry{}, entries...), Attempt: folder.ReadAttempt(), Drill: folder.ReadLastDrill(), Now: now}
	for i := range answer.Backups {
		if manifest := answer.Backups[i].Manifest; manifest != nil {
			manifest.Tables, manifest.Views = nil, nil // thousands of lines that nobody asked for
		}
	}
	answer.Health, answer.OK = health.Look(folder, app.settings.Interval, app.settings.DrillInterval, now)
	app.report.Result(answer, "%d dumps; %s", len(entries), answer.Health)
	return nil
}

func runDrill(ctx context.Context, app *app, args []string) error {
	flags := newFlags("drill")
	name := flags.String("dump", latest, "a path, a name in the folder of backups, or latest")
	if err := parse(flags, args); err != nil {
		return err
	}
	path, err := app.choose(*name)
	if err != nil {
		return err
	}
	var message hook.Message
	outcome, err := app.drillOne(app.asked(ctx), path, func(told hook.Message) { message = told })
	if err == nil && outcome.OK {
		app.report.Result(vault.LastDrill{Name: filepath.Base(path), Drill: outcome}, "%s was restored on trial in %.1f s: %d rows", path, outcome.Seconds, outcome.Rows)
	}
	app.tellNow(message)
	if err == nil && !outcome.OK {
		return event.Fail("do not rely on it: `invoke db-backup` makes another, `invoke db-backups` lists them all", "%s cannot be restored: %s", path, outcome.Problem)
	}
	return err
}

func runKeep(ctx context.Context, app *app, args []string) error {
	if err := parse(newFlags("keep"), args); err != nil {
		return err
	}
	watcher := app.watcher()
	// Nothing waits for a hook that does not answer.
	told := func(message hook.Message) { go watcher.Tell(ctx, message) }
	keeper := schedule.Keeper{
		Vault: app.vault(), Interval: app.settings.Interval, Keep: app.settings.Keep, DrillInterval: app.settings.DrillInterval,
		Clock: schedule.System{Started: time.Now()}, Report: app.report,
		Backup: func(ctx context.Context) (backup.Made, error) {
			made, err := app.backUp(ctx, told)
			if err == nil {
				app.report.Note("%s: %d bytes, %d rows, %.1f s", made.Name, made.Bytes, made.Rows, made.Seconds)
			}
			return made, err
		},
		Filled: app.filled,
		Drill: func(ctx context.Context, dump vault.Entry) error {
			outcome, err := app.drillOne(ctx, dump.Path, told)
			if err == nil {
				app.report.Note("%s was restored on trial in %.1f s, %d rows: %s", dump.Name, outcome.Seconds, outcome.Rows, verdict(outcome))
			}
			return err
		},
	}
	app.report.Note("a backup of %s every %s, kept for %d days", app.settings.Database, app.settings.Interval, int64(app.settings.Keep/(24*time.Hour)))
	keeper.Run(ctx)
	return nil
}

// filled is whether the database holds a table; where it cannot be asked, the next backup will tell why.
func (app *app) filled(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, goodbye)
	defer cancel()
	session, err := app.server.Connect(ctx, app.settings.Database)
	if err != nil {
		return false
	}
	defer session.Close(context.Background()) //nolint:errcheck // read only
	filled, err := census.Filled(ctx, session)
	return err == nil && filled
}

func verdict(outcome vault.Drill) string {
	if outcome.OK {
		return "equal to its manifest"
	}
	return "FAILED: " + outcome.Problem
}

func runHealth(_ context.Context, app *app, args []string) error {
	if err := parse(newFlags("health"), args); err != nil {
		return err
	}
	text, ok := health.Look(app.vault(), app.settings.Interval, app.settings.DrillInterval, time.Now())
	if !ok {
		return &event.Problem{What: text, Mend: "`invoke compose-logs --services=postgres-backup` says more", Exit: 1}
	}
	app.report.Note("%s", text)
	return nil
}
