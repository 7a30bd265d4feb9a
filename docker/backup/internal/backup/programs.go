package backup

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"wepp.example/backup/internal/child"
	"wepp.example/backup/internal/event"
	"wepp.example/backup/internal/postgres"
	"wepp.example/backup/internal/vault"
)

// complaint is what a program wrote before it failed.
type complaint struct {
	program, text string
}

func (c *complaint) Error() string { return c.program + ": " + c.text }

func run(command *exec.Cmd) error {
	_, err := output(command)
	return err
}

// output runs a program to its end and returns what it wrote.
func output(command *exec.Cmd) ([]byte, error) {
	var told, answer bytes.Buffer
	command.Stderr, command.Stdout = &told, &answer
	err := command.Run()
	return answer.Bytes(), failed(command, told.String(), err)
}

func failed(command *exec.Cmd, told string, err error) error {
	if err == nil {
		return nil
	}
	if trouble := postgres.Trouble(told); trouble != nil {
		return trouble // also when its disk is full, and not that of the backups
	}
	name := command.Args[0]
	if why := strings.TrimPrefix(postgres.FirstError(told), name+": "); why != "" {
		return &complaint{name, why}
	}
	return &complaint{name, err.Error()}
}

// explained turns a failure into what a person can mend.
func (m Maker) explained(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
			return cause
		}
		return event.Fail("run it again", "the backup was stopped; the earlier ones are as they were")
	}
	var problem *event.Problem
	if errors.As(err, &problem) {
		return err
	}
	if full := postgres.Full(err); full != nil {
		return full
	}
	text := err.Error()
	var file *fs.PathError
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), strings.Contains(text, "No space left"), strings.Contains(text, "quota exceeded"):
		return event.Fail("make room there, or set BACKUP_KEEP_DAYS lower", "the disk of the backups (%s) is full: nothing was kept of this one, the earlier ones are as they were",
			m.Vault.Folder)
	case errors.As(err, &file) && filepath.Dir(file.Path) == filepath.Clean(m.Vault.Folder):
		return event.Midway(vault.Unusable(m.Vault.Folder, err))
	case strings.Contains(text, "lock timeout"), strings.Contains(text, "canceling statement due to lock"):
		return event.Fail("see who holds it: SELECT * FROM pg_locks in `invoke db-shell`", "a table was locked for more than %s: %s", lockPatience, text)
	}
	return event.Fail("see the server's log; the earlier backups are as they were", "no backup was made: %s", text)
}

// clientVersion is the pg_dump's in this image, which is the server's where the two are of one image.
func clientVersion(ctx context.Context) (string, error) {
	text, err := output(child.Command(ctx, "pg_dump", "--version"))
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(strings.TrimPrefix(string(text), "pg_dump (PostgreSQL) ")), nil
}
