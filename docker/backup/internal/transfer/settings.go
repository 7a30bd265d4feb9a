package transfer

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"wepp.example/backup/internal/postgres"
	"wepp.example/backup/internal/swap"
)

// setting is one that the source keeps for the database, or for a role in it; no dump of a database carries them.
type setting struct {
	Role, Name, Value string
}

// carrySettings gives the new database what ALTER DATABASE ... SET said on the source. The stack's own settings of that
// kind, if any, go over them at the swap. That the source is read-only, as a live move leaves it, is not taken over.
func (r *run) carrySettings(ctx context.Context) error {
	rows, err := r.Source.Session.Query(ctx, `select coalesce(r.rolname::text, '') as role, split_part(c, '=', 1) as name, substr(c, strpos(c, '=') + 1) as value
		from pg_db_role_setting s join pg_database d on d.oid = s.setdatabase left join pg_roles r on r.oid = s.setrole, unnest(s.setconfig) c
		where d.datname = current_database() and split_part(c, '=', 1) <> 'default_transaction_read_only' order by 1, 2`)
	if err != nil {
		return fmt.Errorf("reading the source's settings: %w", err)
	}
	settings, err := pgx.CollectRows(rows, pgx.RowToStructByName[setting])
	if err != nil {
		return fmt.Errorf("reading the source's settings: %w", err)
	}
	known, err := postgres.Strings(ctx, r.lock.Session, "select rolname::text from pg_roles")
	if err != nil {
		return fmt.Errorf("asking for roles: %w", err)
	}
	for _, each := range settings {
		target := "alter database " + postgres.Quote(r.incoming.Name)
		if each.Role != "" {
			if !slices.Contains(known, each.Role) {
				continue // nobody's here
			}
			target = "alter role " + postgres.Quote(each.Role) + " in database " + postgres.Quote(r.incoming.Name)
		}
		if _, err := r.lock.Session.Exec(ctx, target+swap.Set(each.Name, each.Value)); err != nil {
			r.answer.Notes = append(r.answer.Notes, fmt.Sprintf("a setting of the source was not taken over: %s = %s (%s)", each.Name, each.Value, err))
		}
	}
	return nil
}
