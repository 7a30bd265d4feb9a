package transfer

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"wepp.example/backup/internal/postgres"
)

// liveNeeds adds to the plan what stands in the way of logical replication, each with its mend.
func (m *Move) liveNeeds(ctx context.Context, plan *Plan, target *pgx.Conn) error {
	ready, err := m.Source.Readiness(ctx)
	if err != nil {
		return err
	}
	if ready.WALLevel != "logical" {
		plan.obstacle("on the source: ALTER SYSTEM SET wal_level = logical; then restart it (once; or move it at rest, without --live)",
			"the source's wal_level is %s, --live needs logical", ready.WALLevel)
	}
	if ready.FreeSlots < 1 {
		plan.obstacle("on the source: raise max_replication_slots and restart it, or drop an unused slot", "the source has no free replication slot")
	}
	if ready.FreeSenders < 2 {
		plan.obstacle("on the source: raise max_wal_senders and restart it", "the source has %d free WAL senders, --live needs 2", ready.FreeSenders)
	}
	if !ready.Replication {
		plan.obstacle(fmt.Sprintf("on the source, as a superuser: ALTER ROLE %s REPLICATION", postgres.Quote(plan.Source.User)),
			"%s may not open replication sessions", plan.Source.User)
	}
	if !ready.OwnsDatabase || len(ready.NotOwned) > 0 {
		plan.obstacle("use a superuser of the source as --user, or the owner of the database and all its tables",
			"%s does not own the whole database (%s)", plan.Source.User, some(append(ready.NotOwned, "database "+m.Source.Database)))
	}
	if len(ready.NoIdentity) > 0 {
		plan.obstacle("give each a primary key, or on the source: "+identityStatements(ready.NoIdentity),
			"the source's server cannot tell the rows of these tables apart, their updates would fail: %s", some(ready.NoIdentity))
	}
	if plan.Source.LargeObjects > 0 {
		plan.obstacle("move at rest, without --live", "changes of large objects do not travel with logical replication, and the source has %d", plan.Source.LargeObjects)
	}
	if len(ready.Unlogged) > 0 {
		plan.obstacle("on the source: ALTER TABLE ... SET LOGGED, or move at rest, without --live",
			"changes of unlogged tables do not travel with logical replication: %s", some(ready.Unlogged))
	}
	if len(ready.AlwaysTrigger) > 0 {
		plan.obstacle("on the source: ALTER TABLE ... ENABLE TRIGGER (without ALWAYS or REPLICA), or move at rest",
			"these triggers would fire a second time where the changes arrive: %s", some(ready.AlwaysTrigger))
	}
	if plan.Comparison == "rows" {
		plan.obstacle("move at rest, without --live", "--live does not convert encodings")
	}
	if len(ready.SlotLimits) > 0 {
		plan.note("the source may give up on the move while it loads (%s); the move would fail and be taken back: lift that limit there meanwhile if the load takes long",
			some(ready.SlotLimits))
	}
	var workers, origins int
	var superuser bool
	err = target.QueryRow(ctx, `select current_setting('max_logical_replication_workers')::int, current_setting('max_replication_slots')::int,
		(select rolsuper from pg_roles where rolname = current_user)`).Scan(&workers, &origins, &superuser)
	if err != nil {
		return fmt.Errorf("looking at the stack's server: %w", err)
	}
	if workers < 1 || origins < 1 || !superuser {
		plan.obstacle("raise max_logical_replication_workers and max_replication_slots in docker/postgres/wepppy.conf and restart it; POSTGRES_USER must be a superuser",
			"the stack's server takes no subscription (workers %d, origins %d, superuser %t)", workers, origins, superuser)
	}
	return nil
}

func identityStatements(tables []string) string {
	const shown = 3
	parts := []string{}
	for i, table := range tables {
		if i == shown {
			parts = append(parts, fmt.Sprintf("and so for %d more", len(tables)-shown))
			break
		}
		parts = append(parts, "ALTER TABLE "+table+" REPLICA IDENTITY FULL;")
	}
	return strings.Join(parts, " ")
}
