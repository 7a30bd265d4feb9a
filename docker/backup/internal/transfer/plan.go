package transfer

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"wepp.example/backup/internal/event"
	"wepp.example/backup/internal/postgres"
	"wepp.example/backup/internal/scratch"
	"wepp.example/backup/internal/source"
)

// What a move takes, measured with two cores for both servers (see the bench); for the estimate only.
const (
	dumpBytesPerSecond    = 150 << 20
	loadBytesPerSecond    = 60 << 20
	compareBytesPerSecond = 150 << 20
	// A zstd:1 dump is a fifth of the database at the most that was seen; a third is the cautious reckoning.
	dumpShare = 3
	// The server needs the database once more, and a little for its log.
	spareBytes = 512 << 20
	// oldestMajor that this kit moves from; pg_dump itself goes further back.
	oldestMajor = 12
)

// Plan is what a move would do, and what stands in its way.
type Plan struct {
	Source        source.Inventory `json:"source"`
	Target        Target           `json:"target"`
	Live          bool             `json:"live"`
	Jobs          int              `json:"jobs"`
	RolesToMake   []string         `json:"roles_to_make"`
	Seconds       map[string]int64 `json:"estimated_seconds"`
	DumpBytes     int64            `json:"estimated_dump_bytes"`
	FreeForDump   int64            `json:"free_for_dump"`
	FreeForServer int64            `json:"free_for_server"`
	Notes         []string         `json:"notes"`
	Comparison    string           `json:"comparison"` // hashes, or rows where the encodings differ
	Locale        scratch.Locale   `json:"-"`
	missing       []source.Role
	obstacles     []obstacle
}

// Target is the stack's own database.
type Target struct {
	ServerText string `json:"server_version"`
	Version    int    `json:"version"`
	Database   string `json:"database"`
	Bytes      int64  `json:"bytes"`
	Tables     int    `json:"tables"`
}

type obstacle struct{ what, mend string }

func (p *Plan) obstacle(mend, what string, args ...any) {
	p.obstacles = append(p.obstacles, obstacle{fmt.Sprintf(what, args...), mend})
}

func (p *Plan) note(text string, args ...any) { p.Notes = append(p.Notes, fmt.Sprintf(text, args...)) }

// Refusal is nil when nothing stands in the way.
func (p *Plan) Refusal() error {
	if len(p.obstacles) == 0 {
		return nil
	}
	var whats, mends []string
	for _, each := range p.obstacles {
		whats = append(whats, each.what)
		if !slices.Contains(mends, each.mend) {
			mends = append(mends, each.mend)
		}
	}
	return event.Refuse(strings.Join(mends, "; "), "%s", strings.Join(whats, "; "))
}

// Plan looks at both sides. It changes nothing; the refusal, if any, is in the plan.
func (m *Move) Plan(ctx context.Context, lock *scratch.Lock) (*Plan, error) {
	target := lock.Session
	plan := &Plan{Live: m.Live, Jobs: m.Jobs, Notes: []string{}, RolesToMake: []string{}, Comparison: "hashes"}
	var err error
	if plan.Source, err = m.Source.Look(ctx); err != nil {
		return nil, err
	}
	plan.Target.Database = m.Database
	err = target.QueryRow(ctx, `select current_setting('server_version'), current_setting('server_version_num')::int,
		coalesce((select pg_database_size(oid) from pg_database where datname = $1), 0)`, m.Database).
		Scan(&plan.Target.ServerText, &plan.Target.Version, &plan.Target.Bytes)
	if err != nil {
		return nil, fmt.Errorf("looking at the stack's server: %w", err)
	}
	m.direction(plan)
	if plan.Source.Major() < oldestMajor {
		return plan, nil // what follows asks for what such a server does not have
	}
	if err := m.another(ctx, plan, target); err != nil {
		return nil, err
	}
	if err := m.locale(ctx, plan, target); err != nil {
		return nil, err
	}
	if err := m.needs(ctx, plan, target); err != nil {
		return nil, err
	}
	tables, err := streams(ctx, m.Source.Session)
	if err != nil {
		return nil, err
	}
	dumped := plan.Source.TableBytes
	for _, each := range tables {
		dumped -= each.Bytes
	}
	m.room(ctx, plan, lock, dumped)
	if m.Live {
		if err := m.liveNeeds(ctx, plan, target); err != nil {
			return nil, err
		}
	}
	size := plan.Source.Bytes
	plan.Seconds = map[string]int64{
		"dump": 1 + dumped/dumpBytesPerSecond, "load": 1 + size/loadBytesPerSecond, "compare": 1 + size/compareBytesPerSecond, "downtime": 5,
	}
	return plan, nil
}

func (m *Move) direction(plan *Plan) {
	from, to := plan.Source.Major(), plan.Target.Version/10000
	switch {
	case from > to:
		plan.obstacle(fmt.Sprintf("give the stack a newer server: POSTGRES_IMAGE of major %d or later in .env", from),
			"the source is PostgreSQL %d and the stack's server is %d: a database moves to the same or a newer major only", from, to)
	case from < oldestMajor:
		plan.obstacle(fmt.Sprintf("upgrade the source to a major from %d on first (pg_upgrade)", oldestMajor),
			"the source is PostgreSQL %d; majors from %d on are moved", from, oldestMajor)
	}
}

// another refuses the stack's own server as the source: it answers on the port of an old one that is down.
func (m *Move) another(ctx context.Context, plan *Plan, target *pgx.Conn) error {
	const born = "select pg_postmaster_start_time()"
	var from, to time.Time
	if err := m.Source.Session.QueryRow(ctx, born).Scan(&from); err != nil {
		return fmt.Errorf("asking the source since when it runs: %w", err)
	}
	if err := target.QueryRow(ctx, born).Scan(&to); err != nil {
		return fmt.Errorf("asking the stack's server since when it runs: %w", err)
	}
	if from.Equal(to) {
		plan.obstacle("start the old server, or correct --host and --port; if both want the same port, give the stack another PORT_POSTGRES in .env, then `invoke compose-up`",
			"the server that answers there is the stack's own")
	}
	return nil
}

// locale decides how the new database sorts: as the source where the target can do that, else as the stack's own.
func (m *Move) locale(ctx context.Context, plan *Plan, target *pgx.Conn) error {
	own, there, err := scratch.LocaleOf(ctx, target, m.Database)
	if err != nil {
		return fmt.Errorf("looking at the stack's locale: %w", err)
	}
	if !there {
		own = scratch.Locale{}
	}
	from := plan.Source.Locale
	plan.Locale = own
	if there && from.Encoding != own.Encoding {
		plan.Comparison = "rows"
		if m.Force {
			plan.note("the source is encoded in %s, the stack in %s: the text is converted, and only the numbers of rows are compared", from.Encoding, own.Encoding)
		} else {
			plan.obstacle("convert it first, or let --force convert it on the way and compare only the numbers of rows",
				"the source is encoded in %s and the stack in %s", from.Encoding, own.Encoding)
		}
		return nil
	}
	codePoints := []string{"C", "POSIX", "C.UTF-8", "C.utf8"}
	switch {
	case from.Provider == "i":
		plan.Locale = from
		// The C library's part of it may not exist here; ICU does the sorting.
		plan.Locale.Collate, plan.Locale.Ctype = own.Collate, own.Ctype
	case from.Provider == "b" || slices.Contains(codePoints, from.Collate):
		return nil
	default:
		var known bool
		err := target.QueryRow(ctx, `select exists (select from pg_collation where collprovider = 'c'
			and lower(replace(collname, '-', '')) = lower(replace($1, '-', '')))`, from.Collate).Scan(&known)
		if err != nil {
			return fmt.Errorf("looking for the source's locale: %w", err)
		}
		if known {
			plan.Locale = from
			return nil
		}
		plan.note("the source sorts text by the rules of %s, which the stack's server does not have; there text is sorted as %s (add COLLATE \"%s\" where the order matters)",
			from.Collate, own.Collate, strings.SplitN(strings.ReplaceAll(from.Collate, "_", "-"), ".", 2)[0]+"-x-icu")
	}
	return nil
}

func (m *Move) needs(ctx context.Context, plan *Plan, target *pgx.Conn) error {
	names := make([]string, 0, len(plan.Source.Extensions))
	for _, each := range plan.Source.Extensions {
		names = append(names, each.Name)
	}
	missing, err := postgres.Strings(ctx, target,
		"select e from unnest($1::text[]) e where e not in (select name::text from pg_available_extensions) order by 1", names)
	if err != nil {
		return fmt.Errorf("asking for extensions: %w", err)
	}
	if len(missing) > 0 {
		plan.obstacle("choose a POSTGRES_IMAGE that has them, then `invoke compose-up`",
			"the source uses extensions that the stack's server does not have: %s", strings.Join(missing, ", "))
	}
	have, err := postgres.Strings(ctx, target, "select rolname::text from pg_roles")
	if err != nil {
		return fmt.Errorf("asking for roles: %w", err)
	}
	for _, role := range plan.Source.Roles {
		if !slices.Contains(have, role.Name) {
			plan.missing = append(plan.missing, role)
			plan.RolesToMake = append(plan.RolesToMake, role.Name)
		}
	}
	if len(plan.Source.Unreadable) > 0 {
		plan.obstacle("use a --user that may read everything: the owner of the tables or a superuser",
			"%s may not read %s", plan.Source.User, some(plan.Source.Unreadable))
	}
	if plan.Source.Prepared > 0 {
		plan.obstacle("end them first: COMMIT PREPARED or ROLLBACK PREPARED, see pg_prepared_xacts",
			"%d prepared transactions hold the source", plan.Source.Prepared)
	}
	if len(plan.Source.Tablespaces) > 0 {
		plan.note("tablespaces of the source are not moved (%s): everything lies in the stack's volume", strings.Join(plan.Source.Tablespaces, ", "))
	}
	if len(plan.Source.Publications) > 0 && m.Live {
		plan.note("publications of the source are not moved by --live, make them anew afterwards: %s", some(plan.Source.Publications))
	}
	if plan.Source.Foreign > 0 {
		plan.note("%d subscriptions of the source are not moved: make them anew on the stack's server", plan.Source.Foreign)
	}
	return nil
}

// room compares what is free with what a dump of so many bytes and a second database take.
func (m *Move) room(ctx context.Context, plan *Plan, lock *scratch.Lock, dumped int64) {
	plan.DumpBytes = dumped / dumpShare
	plan.FreeForDump, plan.FreeForServer = free(m.Folder), scratch.Free(ctx, lock)
	if plan.FreeForDump >= 0 && plan.FreeForDump < plan.DumpBytes+spareBytes {
		plan.obstacle("make room there", "the dump may take %d MiB and %d MiB are free where the backups are", plan.DumpBytes>>20, plan.FreeForDump>>20)
	}
	if plan.FreeForServer >= 0 && plan.FreeForServer < plan.Source.Bytes+spareBytes {
		plan.obstacle("make room there (docker system df shows what takes it)", "the database takes %d MiB and %d MiB are free on the server's disk", plan.Source.Bytes>>20, plan.FreeForServer>>20)
	}
}

// free bytes for ordinary users where the folder lies; -1 when it cannot be told.
func free(folder string) int64 {
	var about syscall.Statfs_t
	if syscall.Statfs(folder, &about) != nil {
		return -1
	}
	return int64(about.Bavail) * about.Bsize
}

// some of the names, for a message.
func some(names []string) string {
	const shown = 5
	if len(names) <= shown {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:shown], ", "), len(names)-shown)
}
