package main

import (
	"context"
	"flag"
	"io"
	"path/filepath"

	"wepp.example/backup/internal/archive"
	"wepp.example/backup/internal/event"
)

func init() {
	menu["verify"] = command{about: "read a whole dump and say what it is: --dump PATH|NAME", run: runVerify}
}

// verified is the answer of `verify`.
type verified struct {
	Dump        string   `json:"dump"`
	Kind        string   `json:"kind"`
	Bytes       int64    `json:"bytes"`
	Checksummed bool     `json:"checksummed"`
	Database    string   `json:"database"`
	Server      string   `json:"server_version"`
	Client      string   `json:"client_version"`
	Extensions  []string `json:"extensions"`
	Roles       []string `json:"roles"`
}

func runVerify(ctx context.Context, app *app, args []string) error {
	flags := newFlags("verify")
	path := flags.String("dump", "", "the dump: a path, or a name in the folder of backups")
	if err := parse(flags, args); err != nil {
		return err
	}
	chosen, err := app.choose(*path)
	if err != nil {
		return err
	}
	dump, err := archive.Open(chosen)
	if err != nil {
		return err
	}
	needs, err := archive.Verify(app.asked(ctx), dump, app.report)
	if err != nil {
		return err
	}
	app.report.Result(verified{
		Dump: dump.Path, Kind: string(dump.Kind), Bytes: dump.Bytes, Checksummed: dump.Checksummed, Database: needs.Database,
		Server: needs.ServerVersion, Client: needs.ClientVersion, Extensions: needs.Extensions, Roles: needs.Roles,
	}, "%s is whole", dump.Path)
	return nil
}

// inFolder makes a bare name a path in the folder of backups.
func (app *app) inFolder(path string) string {
	if path != "" && filepath.Base(path) == path {
		return filepath.Join(app.settings.Folder, path)
	}
	return path
}

func newFlags(name string) *flag.FlagSet {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	return flags
}

func parse(flags *flag.FlagSet, args []string) error {
	if err := flags.Parse(args); err != nil {
		return event.Usage("see the flags in the program's source", "%s: %s", flags.Name(), err)
	}
	if flags.NArg() > 0 {
		return event.Usage("give flags only", "%s: %q is one word too many", flags.Name(), flags.Arg(0))
	}
	return nil
}
