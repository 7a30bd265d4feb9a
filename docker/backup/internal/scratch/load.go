package scratch

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"wepp.example/backup/internal/archive"
	"wepp.example/backup/internal/child"
	"wepp.example/backup/internal/event"
	"wepp.example/backup/internal/frozen"
	"wepp.example/backup/internal/postgres"
)

const sizePause = 400 * time.Millisecond

// Load fills the database from a dump, with that many jobs at a time. expected: its size in bytes when it is whole, 0 if
// nobody knows. The first error ends it; the dump or the server is then refused with the reason.
func (d *Database) Load(ctx context.Context, dump archive.Archive, jobs int, expected int64, report *event.Reporter) error {
	watch, stop := context.WithCancel(ctx)
	defer stop()
	go d.tellSize(watch, expected, report)
	load := d.restore
	if dump.Kind == archive.Plain {
		load = d.runSQL
	}
	return load(ctx, dump, jobs)
}

// AnalyseWhile gathers the planner's statistics, which no dump of these majors carries, while the caller reads what was
// loaded: neither keeps all processors busy. The statistics may use no session of the caller's.
func (d *Database) AnalyseWhile(ctx context.Context, jobs int, read func(context.Context) error) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	gathered := make(chan error, 1)
	options := d.options(ctx)
	go func() {
		command := d.lock.Server.Command(ctx, "vacuumdb", "--analyze-only", "--quiet", "--jobs="+strconv.Itoa(jobs), "--dbname="+postgres.Conninfo(d.Name))
		gathered <- d.run(ctx, command, options, statistics)
	}()
	err := read(ctx)
	if err != nil {
		stop()
		<-gathered
		return err
	}
	return <-gathered
}

// LoadAround fills the database from a dump that lacks the rows of some tables: `rows` brings them while the dump's own
// are loaded, when all tables are there and none has an index yet. The rest as in Load.
func (d *Database) LoadAround(ctx context.Context, dump archive.Archive, jobs int, expected int64, report *event.Reporter, rows func(context.Context) error) error {
	watch, stop := context.WithCancel(ctx)
	defer stop()
	go d.tellSize(watch, expected, report)
	schema, _, err := dump.Unmarked(ctx)
	if err != nil {
		return err
	}
	if err := d.psql(ctx, bytes.NewReader(schema), dump.Path); err != nil {
		return err
	}
	together, working := errgroup.WithContext(ctx)
	together.Go(func() error { return d.pgRestore(working, d.lock.Server, dump, 1, "--section=data") })
	together.Go(func() error { return rows(working) })
	if err := together.Wait(); err != nil {
		return err
	}
	return d.pgRestore(ctx, d.lock.Server, dump, jobs, "--section=post-data")
}

func (d *Database) restore(ctx context.Context, dump archive.Archive, jobs int) error {
	schema, marked, err := dump.Unmarked(ctx)
	if err != nil {
		return err
	}
	if !marked {
		return d.restoreAll(ctx, dump, jobs, schema)
	}
	if err := d.psql(ctx, bytes.NewReader(schema), dump.Path); err != nil {
		return err
	}
	return d.pgRestore(ctx, d.lock.Server, dump, jobs, "--section=data", "--section=post-data")
}

// restoreAll loads all of a dump. Its rows come frozen where pg_restore empties each table for them, as it does when it
// works on several at once, and where no table is another server's: such a one takes no frozen rows.
func (d *Database) restoreAll(ctx context.Context, dump archive.Archive, jobs int, schema []byte) error {
	major, err := d.lock.major(ctx)
	if err != nil {
		return err
	}
	if !freezable(dump, jobs, schema, major) {
		return d.pgRestore(ctx, d.lock.Server, dump, jobs)
	}
	way, err := frozen.Open(ctx, d.lock.Server)
	if err != nil {
		return err
	}
	defer way.Close()
	return d.pgRestore(ctx, way.Server, dump, jobs)
}

func freezable(dump archive.Archive, jobs int, schema []byte, major int) bool {
	return jobs > 1 && dump.Kind != archive.Tar && major >= frozen.OldestMajor && !bytes.Contains(schema, []byte("CREATE FOREIGN TABLE "))
}

func (d *Database) pgRestore(ctx context.Context, server postgres.Server, dump archive.Archive, jobs int, sections ...string) error {
	args := []string{"--dbname=" + postgres.Conninfo(d.Name), "--exit-on-error", "--no-password", "--no-tablespaces"}
	if dump.Kind != archive.Tar { // pg_restore cannot seek in those
		args = append(args, "--jobs="+strconv.Itoa(jobs))
	}
	args = append(args, sections...)
	return d.run(ctx, server.Command(ctx, "pg_restore", append(args, dump.Path)...), d.options(ctx)+sorting(jobs)+d.quietTriggers(ctx), loading(dump.Path))
}

func (d *Database) runSQL(ctx context.Context, dump archive.Archive, _ int) error {
	text, err := dump.Text()
	if err != nil {
		return err
	}
	defer text.Close() //nolint:errcheck // read only
	return d.psql(ctx, text, dump.Path)
}

func (d *Database) psql(ctx context.Context, text io.Reader, dump string) error {
	command := d.lock.Server.Command(ctx, "psql", "--no-psqlrc", "--quiet", "--no-password",
		"--set=ON_ERROR_STOP=1", "--output=/dev/null", "--dbname="+postgres.Conninfo(d.Name), "--file=-")
	command.Stdin = text
	return d.run(ctx, command, d.options(ctx)+sorting(1)+d.quietTriggers(ctx), loading(dump))
}

// run runs a program on the database; blame says what its end means.
func (d *Database) run(ctx context.Context, command *exec.Cmd, options string, blame func(told string, err error) error) error {
	var told bytes.Buffer
	command.Stderr = &told
	command.Env = append(command.Env, "PGOPTIONS="+options)
	err := command.Run()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if killed := child.Killed(command.Path, err); killed != nil {
		return killed
	}
	if err != nil {
		return blame(told.String(), err)
	}
	return nil
}

// statistics says why there are none.
func statistics(told string, err error) error {
	if trouble := postgres.Trouble(told); trouble != nil {
		return trouble
	}
	return event.Fail("see the server's log, then run it again", "the planner's statistics could not be gathered: %s", reason(told, err))
}

// reason is what a program complained of or, where it kept silent, how it ended.
func reason(told string, err error) string {
	if why := postgres.FirstError(told); why != "" {
		return why
	}
	return err.Error()
}

var (
	outdated = regexp.MustCompile(`unrecognized parameter "pg_attver"`)
	noRole   = regexp.MustCompile(`role "(.*)" does not exist`)
)

func loading(dump string) func(string, error) error {
	return func(told string, err error) error { return refusal(dump, told, err) }
}

// refusal says why a dump could not be loaded: told is what the program that loads said, err how it ended.
func refusal(dump, told string, err error) error {
	if trouble := postgres.Trouble(told); trouble != nil {
		return trouble
	}
	if trouble := archive.Unread(dump, told); trouble != nil {
		return trouble
	}
	why := reason(told, err)
	// A worker that ends for a reason of its own tells it before its leader tells of its end.
	if strings.HasPrefix(why, "a worker process died") {
		return event.Fail("see whether the backup service has too little memory (docker inspect, dmesg), and read the dump: `invoke db-verify`",
			"a worker of pg_restore died over %s", dump)
	}
	if outdated.MatchString(told) {
		return event.Refuse("dump it again with the pg_dump of that server's version, or in the custom format, which is mended on the way",
			"%s was written by a pg_dump that is older than its server (%s)", dump, why)
	}
	if found := noRole.FindStringSubmatch(told); found != nil {
		return missingRoles(dump, []string{found[1]})
	}
	return event.Refuse("choose another dump, or mend what the server says", "%s cannot be loaded: %s", dump, why)
}

func missingRoles(dump string, names []string) error {
	return event.Refuse("make them first (CREATE ROLE in `invoke db-shell`; the dump's .globals.sql says how they were), then run it again",
		"%s gives things to roles that this server does not have: %s", dump, strings.Join(names, ", "))
}

func (d *Database) tellSize(ctx context.Context, expected int64, report *event.Reporter) {
	session, err := d.lock.Server.Connect(ctx, postgres.Maintenance(d.lock.Live))
	if err != nil {
		return
	}
	defer session.Close(context.Background()) //nolint:errcheck // told all it had to
	for {
		var size int64
		if err := session.QueryRow(ctx, "select pg_database_size($1::name)", d.Name).Scan(&size); err != nil {
			return
		}
		report.Progress("loading", size, max(expected, 0))
		select {
		case <-ctx.Done():
			return
		case <-time.After(sizePause):
		}
	}
}

// Check refuses what this server could not hold: roles and extensions it lacks, dumps of newer majors.
func Check(ctx context.Context, lock *Lock, dump archive.Archive, needs archive.Needs) error {
	if err := checkMajor(ctx, lock, dump, needs); err != nil {
		return err
	}
	missing, err := postgres.Strings(ctx, lock.Session,
		"select r from unnest($1::text[]) r where r not in (select rolname from pg_roles) order by 1", needs.Roles)
	if err != nil {
		return fmt.Errorf("asking for roles: %w", err)
	}
	if len(missing) > 0 {
		return missingRoles(dump.Path, missing)
	}
	missing, err = postgres.Strings(ctx, lock.Session,
		"select e from unnest($1::text[]) e where e not in (select name from pg_available_extensions) order by 1", needs.Extensions)
	if err != nil {
		return fmt.Errorf("asking for extensions: %w", err)
	}
	if len(missing) > 0 {
		return event.Refuse("choose a POSTGRES_IMAGE that has them, `invoke compose-up`, then run it again",
			"%s needs extensions that this server does not have: %s", dump.Path, strings.Join(missing, ", "))
	}
	return nil
}

var leading = regexp.MustCompile(`^\d+`)

// oldestMajor that this kit takes dumps from.
const oldestMajor = 12

func checkMajor(ctx context.Context, lock *Lock, dump archive.Archive, needs archive.Needs) error {
	from, err := strconv.Atoi(leading.FindString(needs.ServerVersion))
	if err != nil {
		return nil // a plain dump may have been stripped of its comments; the load tells
	}
	here, err := lock.major(ctx)
	if err != nil {
		return err
	}
	switch {
	case from > here:
		return event.Refuse(fmt.Sprintf("set POSTGRES_IMAGE to major %d or newer for the stack it is meant for", from),
			"%s comes from PostgreSQL %d and this server is %d: dumps load into the same or a newer major only", dump.Path, from, here)
	case from < oldestMajor:
		return event.Refuse("load it into a server of its time and dump it again from there with a current pg_dump",
			"%s comes from PostgreSQL %d; this kit takes dumps from %d on", dump.Path, from, oldestMajor)
	}
	return nil
}
