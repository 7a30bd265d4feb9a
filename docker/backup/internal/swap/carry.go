package swap

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"wepp.example/backup/internal/postgres"
)

// What belongs to a database but stands outside it, so that no dump of it carries it and a rename leaves it behind.
const (
	propertiesQuery = `select pg_get_userbyid(datdba)::text, datconnlimit, datacl is not null,
		coalesce(shobj_description(oid, 'pg_database'), '') from pg_database where datname = $1`
	settingsQuery = `select coalesce(r.rolname::text, ''), split_part(c, '=', 1), substr(c, strpos(c, '=') + 1)
		from pg_db_role_setting s join pg_database d on d.oid = s.setdatabase
			left join pg_roles r on r.oid = s.setrole, unnest(s.setconfig) c
		where d.datname = $1 order by 1, 2`
	grantsQuery = `select coalesce(r.rolname::text, ''), a.privilege_type, a.is_grantable
		from pg_database d, aclexplode(d.datacl) a left join pg_roles r on r.oid = a.grantee
		where d.datname = $1 order by 1, 2`
)

// listSettings are settings whose stored text is itself a quoted list (GUC_LIST_QUOTE in PostgreSQL's guc_tables).
var listSettings = []string{"local_preload_libraries", "search_path", "session_preload_libraries",
	"shared_preload_libraries", "temp_tablespaces", "unix_socket_directories"}

// carriedOver are the statements that give `to` the owner, limit, comment, settings and rights of `from`.
func carriedOver(ctx context.Context, transaction pgx.Tx, from, to string) ([]string, error) {
	var owner, comment string
	var limit int32
	var hasGrants bool
	if err := transaction.QueryRow(ctx, propertiesQuery, from).Scan(&owner, &limit, &hasGrants, &comment); err != nil {
		return nil, fmt.Errorf("reading what belongs to %s: %w", from, err)
	}
	name := postgres.Quote(to)
	statements := []string{
		"alter database " + name + " owner to " + postgres.Quote(owner),
		fmt.Sprintf("alter database %s connection limit %d", name, limit),
	}
	if comment != "" {
		statements = append(statements, "comment on database "+name+" is "+postgres.Literal(comment))
	}
	settings, err := rows3[string](ctx, transaction, settingsQuery, from)
	if err != nil {
		return nil, err
	}
	for _, each := range settings {
		target := "alter database " + name
		if each.a != "" {
			target = "alter role " + postgres.Quote(each.a) + " in database " + name
		}
		statements = append(statements, target+Set(each.b, each.c))
	}
	if !hasGrants {
		return statements, nil
	}
	grants, err := rows3[bool](ctx, transaction, grantsQuery, from)
	if err != nil {
		return nil, err
	}
	statements = append(statements, "revoke all on database "+name+" from public, "+postgres.Quote(owner))
	for _, each := range grants {
		grantee := "public"
		if each.a != "" {
			grantee = postgres.Quote(each.a)
		}
		statement := "grant " + each.b + " on database " + name + " to " + grantee
		if each.c {
			statement += " with grant option"
		}
		statements = append(statements, statement)
	}
	return statements, nil
}

// Set is the end of a statement that gives a setting the value that pg_db_role_setting holds as text.
func Set(name, text string) string { return " set " + setting(name) + " to " + value(name, text) }

// setting quotes a setting's name, whose parts are separated by dots.
func setting(name string) string {
	parts := strings.Split(name, ".")
	for i, part := range parts {
		parts[i] = postgres.Quote(part)
	}
	return strings.Join(parts, ".")
}

func value(name, text string) string {
	if !slices.Contains(listSettings, name) {
		return postgres.Literal(text)
	}
	items := splitList(text)
	for i, item := range items {
		items[i] = postgres.Literal(item)
	}
	if len(items) == 0 {
		return "''"
	}
	return strings.Join(items, ", ")
}

// listItem is one item of a stored list: in double quotes, which are doubled inside it, or bare.
var listItem = regexp.MustCompile(`"((?:[^"]|"")*)"|[^", ]+`)

// splitList takes a stored list apart.
func splitList(text string) []string {
	var items []string
	for _, found := range listItem.FindAllStringSubmatch(text, -1) {
		item := found[0]
		if strings.HasPrefix(item, `"`) {
			item = strings.ReplaceAll(found[1], `""`, `"`)
		}
		items = append(items, item)
	}
	return items
}

type triple[C any] struct {
	a, b string
	c    C
}

func rows3[C any](ctx context.Context, transaction pgx.Tx, query, database string) ([]triple[C], error) {
	rows, err := transaction.Query(ctx, query, database)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (triple[C], error) {
		var each triple[C]
		err := row.Scan(&each.a, &each.b, &each.c)
		return each, err
	})
}
