package swap

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"wepp.example/backup/internal/event"
	"wepp.example/backup/internal/postgres"
	"wepp.example/backup/internal/scratch"
)

// Kept is a database that was live once and waits for a rollback or its end.
type Kept struct {
	Name  string    `json:"name"`
	Since time.Time `json:"since"`
	Bytes int64     `json:"bytes"`
	About string    `json:"about"`
}

var keptName = regexp.MustCompile(`^(.+)` + infix + `(\d{8}_\d{6})$`)

// List is what is kept of a live database, the newest first.
func List(ctx context.Context, session *pgx.Conn, live string) ([]Kept, error) {
	rows, err := session.Query(ctx, `select datname::text, pg_database_size(oid), coalesce(shobj_description(oid, 'pg_database'), '')
		from pg_database where starts_with(datname::text, $1)`, fmt.Sprintf("%.40s%s", live, infix))
	if err != nil {
		return nil, fmt.Errorf("listing kept databases: %w", err)
	}
	kept := []Kept{}
	for rows.Next() {
		var each Kept
		if err := rows.Scan(&each.Name, &each.Bytes, &each.About); err != nil {
			return nil, fmt.Errorf("listing kept databases: %w", err)
		}
		found := keptName.FindStringSubmatch(each.Name)
		if found == nil {
			continue
		}
		if each.Since, err = time.Parse(stamp, found[2]); err != nil {
			continue
		}
		kept = append(kept, each)
	}
	sortNewestFirst(kept)
	return kept, rows.Err()
}

// Choose is the kept database of that name, or the newest when none is named.
func Choose(kept []Kept, name string) (Kept, error) {
	if len(kept) == 0 {
		return Kept{}, event.Refuse("restore a backup instead: invoke db-restore --dump=latest", "no earlier database is kept")
	}
	if name == "" {
		return kept[0], nil
	}
	for _, each := range kept {
		if each.Name == name {
			return each, nil
		}
	}
	return Kept{}, event.Refuse("choose one of those that `invoke db-prune --dry-run` lists", "no database %s is kept", name)
}

// Drop removes a kept database for good.
func Drop(ctx context.Context, lock *scratch.Lock, name string) error {
	if keptName.FindStringSubmatch(name) == nil {
		return event.Usage("name a kept database", "%s is not the name of a kept database", name)
	}
	_, err := lock.Session.Exec(ctx, "drop database if exists "+postgres.Quote(name)+" with (force)")
	if err != nil {
		return event.Fail("see who uses it in pg_stat_activity", "%s could not be dropped: %s", name, err)
	}
	return nil
}

func sortNewestFirst(kept []Kept) {
	slices.SortFunc(kept, func(a, b Kept) int { return b.Since.Compare(a.Since) })
}
