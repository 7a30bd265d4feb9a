package transfer

// What a move leaves that dies: a dump, roles, and on the source what package source removes. Scratch databases go with
// the taking of the lock.

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"time"

	"wepp.example/backup/internal/event"
	"wepp.example/backup/internal/postgres"
	"wepp.example/backup/internal/scratch"
)

const dumpPrefix = ".moving-"

// TakeBack removes from the stack what a move left that died. Whoever holds the lock is alone. moved: its database is
// live, and the roles that were made for it stay.
func TakeBack(ctx context.Context, lock *scratch.Lock, folder string, moved bool, report *event.Reporter) {
	sweepFolders(folder, report)
	if !moved {
		sweepRoles(ctx, lock, report)
		return
	}
	for _, name := range unfinishedRoles(ctx, lock) {
		if err := finishRole(ctx, lock, name); err != nil {
			report.Note("the role %s keeps the remark of an unfinished move: %s", name, err)
		}
	}
}

// sweep removes it before another move begins.
func (r *run) sweep(ctx context.Context) {
	sweepFolders(r.Folder, r.Report)
	for _, name := range sweepRoles(ctx, r.lock, r.Report) {
		for i, role := range r.plan.Source.Roles {
			if role.Name == name && !slices.Contains(r.plan.RolesToMake, name) {
				r.plan.missing = append(r.plan.missing, r.plan.Source.Roles[i])
			}
		}
	}
}

func sweepFolders(parent string, report *event.Reporter) {
	left, _ := filepath.Glob(filepath.Join(parent, dumpPrefix+"*"))
	for _, each := range left {
		report.Note("removing %s, which an interrupted move left", each)
		removeFolder(each)
	}
}

// removeFolder also while a process that was just ended lets go of it.
func removeFolder(folder string) {
	const tries = 50
	for range tries {
		if os.RemoveAll(folder) == nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// sweepRoles drops the roles and returns their names. One that a kept database uses since stays; it is in nobody's way.
func sweepRoles(ctx context.Context, lock *scratch.Lock, report *event.Reporter) []string {
	var dropped []string
	for _, name := range unfinishedRoles(ctx, lock) {
		if _, err := lock.Session.Exec(ctx, "drop role "+postgres.Quote(name)); err == nil {
			report.Note("removed the role %s, which an interrupted move left", name)
			dropped = append(dropped, name)
		}
	}
	return dropped
}

func unfinishedRoles(ctx context.Context, lock *scratch.Lock) []string {
	names, err := postgres.Strings(ctx, lock.Session, "select rolname::text from pg_roles where shobj_description(oid, 'pg_authid') = $1", unfinished)
	if err != nil {
		return nil
	}
	return names
}

func finishRole(ctx context.Context, lock *scratch.Lock, name string) error {
	_, err := lock.Session.Exec(ctx, "comment on role "+postgres.Quote(name)+" is null")
	return err
}
