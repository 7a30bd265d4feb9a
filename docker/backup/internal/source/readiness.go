package source

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"wepp.example/backup/internal/postgres"
)

// Readiness is what logical replication out of the source depends on.
type Readiness struct {
	WALLevel      string
	FreeSlots     int
	FreeSenders   int
	Replication   bool     // the user may open replication sessions
	OwnsDatabase  bool     // or is a superuser
	NotOwned      []string // tables that others own
	NoIdentity    []string // tables whose rows cannot be told apart
	Unlogged      []string // tables whose changes are in no log
	AlwaysTrigger []string // triggers that would fire again where the change arrives
	SlotLimits    []string // settings by which the server gives up a slot that is not read soon enough
}

// Readiness looks at what a live move needs.
func (s *Source) Readiness(ctx context.Context) (Readiness, error) {
	var found Readiness
	err := s.Session.QueryRow(ctx, `select current_setting('wal_level'),
			current_setting('max_replication_slots')::int - (select count(*) from pg_replication_slots)::int,
			current_setting('max_wal_senders')::int - (select count(*) from pg_stat_replication)::int,
			r.rolsuper or r.rolreplication,
			r.rolsuper or (pg_has_role(d.datdba, 'usage') and has_database_privilege(d.oid, 'create'))
		from pg_roles r, pg_database d where r.rolname = current_user and d.datname = current_database()`).
		Scan(&found.WALLevel, &found.FreeSlots, &found.FreeSenders, &found.Replication, &found.OwnsDatabase)
	if err != nil {
		return found, fmt.Errorf("looking at what a live move needs: %w", err)
	}
	const tables = `select format('%I.%I', n.nspname, c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace
		where c.relkind = 'r' and ` + userSchema + ` and `
	for _, each := range []struct {
		into  *[]string
		query string
	}{
		{&found.NotOwned, tables + `not (pg_has_role(c.relowner, 'usage') or (select rolsuper from pg_roles where rolname = current_user)) order by 1`},
		{&found.NoIdentity, tables + `c.relpersistence = 'p' and (c.relreplident = 'n' or (c.relreplident = 'd'
			and not exists (select from pg_index i where i.indrelid = c.oid and i.indisprimary))) order by 1`},
		{&found.Unlogged, tables + `c.relpersistence = 'u' order by 1`},
		{&found.AlwaysTrigger, `select format('%I on %I.%I', t.tgname, n.nspname, c.relname) from pg_trigger t join pg_class c on c.oid = t.tgrelid
			join pg_namespace n on n.oid = c.relnamespace where t.tgenabled in ('A', 'R') and not t.tgisinternal and ` + userSchema + ` order by 1`},
		{&found.SlotLimits, `select name || ' = ' || current_setting(name) from pg_settings
			where name = 'max_slot_wal_keep_size' and setting <> '-1' or name = 'idle_replication_slot_timeout' and setting <> '0' order by 1`},
	} {
		if *each.into, err = postgres.Strings(ctx, s.Session, each.query); err != nil {
			return found, fmt.Errorf("looking at what a live move needs: %w", err)
		}
	}
	return found, nil
}

// Shape is a fingerprint of everything that is defined in the database, as the session's transaction sees it. Changes of
// definitions do not travel with logical replication. What TRUNCATE, REINDEX and REFRESH change does not count.
func (h *Snapshot) Shape(ctx context.Context) (string, error) { return shape(ctx, h.Session) }

// Shape is the fingerprint as of now.
func (s *Source) Shape(ctx context.Context) (string, error) { return shape(ctx, s.Session) }

func shape(ctx context.Context, session rowQuerier) (string, error) {
	var text string
	const mine = `(select c.oid from pg_class c join pg_namespace n on n.oid = c.relnamespace where ` + userSchema + `)`
	err := session.QueryRow(ctx, `select md5(coalesce(string_agg(x, '|' order by x collate "C"), '')) from (
		select concat_ws(' ', c.oid, relnamespace, relname, relkind, relowner, relnatts, relpersistence, relchecks, relrowsecurity, relreplident, relacl)
			from pg_class c where oid in `+mine+`
		union all select concat_ws(' ', 'a', attrelid, attnum, xmin) from pg_attribute where attrelid in `+mine+`
		union all select concat_ws(' ', 'd', oid, xmin) from pg_attrdef where adrelid in `+mine+`
		union all select concat_ws(' ', 'k', oid, xmin) from pg_constraint where connamespace in (select oid from pg_namespace n where `+userSchema+`)
		union all select concat_ws(' ', 't', oid, xmin) from pg_trigger where tgrelid in `+mine+`
		union all select concat_ws(' ', 'r', oid, xmin) from pg_rewrite where ev_class in `+mine+`
		union all select concat_ws(' ', 'p', oid, xmin) from pg_policy where polrelid in `+mine+`
		union all select concat_ws(' ', 'f', p.oid, p.xmin) from pg_proc p join pg_namespace n on n.oid = p.pronamespace where `+userSchema+`
		union all select concat_ws(' ', 'e', oid, xmin) from pg_enum
		union all select concat_ws(' ', 'n', oid, xmin) from pg_namespace n where `+userSchema+`
	) as defined(x)`).Scan(&text)
	if err != nil {
		return "", fmt.Errorf("taking down how the source is built: %w", err)
	}
	return text, nil
}

type rowQuerier interface {
	QueryRow(ctx context.Context, query string, args ...any) pgx.Row
}
