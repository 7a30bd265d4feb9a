package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"wepp.example/backup/internal/event"
)

func init() {
	menu["enter"] = command{about: "write the password file, then become another program: COMMAND ARGUMENT...", run: runEnter}
}

// runEnter is the image's entry point: it gives every command in the container its password through PGPASSFILE. So
// `docker compose run --rm postgres-backup bash -lc 'pg_dump ...'` and `exec` need none on a command line.
func runEnter(_ context.Context, app *app, args []string) error {
	if len(args) == 0 {
		return event.Usage("name a command", "there is nothing to become")
	}
	if secret := os.Getenv("POSTGRES_PASSWORD_FILE"); secret != "" {
		if err := writePassfile(secret, app.server.Passfile); err != nil {
			return event.Refuse("see that the secrets are there: `invoke compose-up` writes them", "the password is not available: %s", err)
		}
	}
	path, err := exec.LookPath(args[0])
	if err != nil {
		return event.Usage("name a command of the image", "there is no command %q", args[0])
	}
	return fmt.Errorf("becoming %s: %w", args[0], syscall.Exec(path, args, os.Environ()))
}

// writePassfile makes libpq's password file for any server, database and user; backslash and colon are escaped there.
func writePassfile(secret, path string) error {
	text, err := os.ReadFile(secret)
	if err != nil {
		return err
	}
	password := strings.TrimRight(string(text), "\r\n")
	line := "*:*:*:*:" + strings.NewReplacer(`\`, `\\`, `:`, `\:`).Replace(password) + "\n"
	// Renamed, so that a command that reads it meanwhile finds the old one or the new one.
	if err := os.WriteFile(path+".new", []byte(line), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
