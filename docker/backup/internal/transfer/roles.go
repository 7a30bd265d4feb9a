package transfer

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"wepp.example/backup/internal/event"
	"wepp.example/backup/internal/postgres"
	"wepp.example/backup/internal/source"
)

// unfinished marks roles of a move that has not ended, so that the next one can remove them if this one dies.
const unfinished = "wepp-backup: made for a move that has not ended"

// makeRoles makes the roles that things belong to and the target lacks: as they were, but without log-in. Their
// passwords stay behind, and a superuser whom nobody expects shall not be able to log in.
func (r *run) makeRoles(ctx context.Context) error {
	for _, role := range r.plan.missing {
		if _, err := r.lock.Session.Exec(ctx, "create role "+postgres.Quote(role.Name)+attributes(role)); err != nil {
			return unmade(err, "the role %s could not be made: %s", role.Name, err)
		}
		r.later(func() {
			if !r.moved {
				r.dropRole(role.Name)
			}
		})
		r.answer.RolesMade = append(r.answer.RolesMade, role.Name)
		if _, err := r.lock.Session.Exec(ctx, "comment on role "+postgres.Quote(role.Name)+" is "+postgres.Literal(unfinished)); err != nil {
			return fmt.Errorf("marking the role %s: %w", role.Name, err)
		}
	}
	known, err := postgres.Strings(ctx, r.lock.Session, "select rolname::text from pg_roles")
	if err != nil {
		return fmt.Errorf("asking for roles: %w", err)
	}
	for _, role := range r.plan.missing {
		for _, group := range role.MemberOf {
			if !slices.Contains(known, group) {
				continue
			}
			if _, err := r.lock.Session.Exec(ctx, "grant "+postgres.Quote(group)+" to "+postgres.Quote(role.Name)); err != nil {
				return unmade(err, "%s could not be made a member of %s: %s", role.Name, group, err)
			}
		}
	}
	return nil
}

func unmade(err error, what string, args ...any) error {
	if full := postgres.Full(err); full != nil {
		return full
	}
	return event.Fail("make the role by hand in `invoke db-shell` and run it again", what, args...)
}

func attributes(role source.Role) string {
	words := []string{"nologin"}
	for _, each := range []struct {
		word string
		has  bool
	}{
		{"superuser", role.Superuser}, {"inherit", role.Inherit}, {"createrole", role.CreateRole}, {"createdb", role.CreateDB},
		{"replication", role.Replication}, {"bypassrls", role.BypassRLS},
	} {
		if each.has {
			words = append(words, each.word)
		} else {
			words = append(words, "no"+each.word)
		}
	}
	return " " + strings.Join(words, " ") + fmt.Sprintf(" connection limit %d", role.Limit)
}

func (r *run) dropRole(name string) {
	ctx, cancel := patience()
	defer cancel()
	session, err := r.Target.Connect(ctx, postgres.Maintenance(r.Database))
	if err == nil {
		defer session.Close(ctx) //nolint:errcheck // nothing depends on it
		_, err = session.Exec(ctx, "drop role if exists "+postgres.Quote(name))
	}
	if err != nil {
		r.Report.Left("the role %s stays behind (%s); the next move removes it", name, err)
	}
}

func (r *run) keepRoles(ctx context.Context) {
	if len(r.answer.RolesMade) == 0 {
		return
	}
	// The server may have gone away since the swap.
	if err := r.lock.Renew(ctx); err != nil {
		r.Report.Note("the roles %s keep the remark of an unfinished move: %s", strings.Join(r.answer.RolesMade, ", "), err)
		return
	}
	for _, name := range r.answer.RolesMade {
		if err := finishRole(ctx, r.lock, name); err != nil {
			r.Report.Note("the role %s keeps the remark of an unfinished move: %s", name, err)
		}
	}
	r.answer.Notes = append(r.answer.Notes, fmt.Sprintf("roles made without log-in: %s (ALTER ROLE ... LOGIN PASSWORD in `invoke db-shell` lets one in)",
		strings.Join(r.answer.RolesMade, ", ")))
}
