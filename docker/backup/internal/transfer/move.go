// Package transfer owns the move of a whole database from one server to another: read and hashed in one moment of the
// source, loaded beside the live database of the target, compared, and made the live one when the word comes. Definitions
// and small tables go by way of a dump, the rows of the others directly.
//
// Two ways. At rest: the source must not be written meanwhile, and nothing is written to it. Live: changes made meanwhile
// follow through logical replication, and the source stops for the cut-over only.
package transfer

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"wepp.example/backup/internal/archive"
	"wepp.example/backup/internal/census"
	"wepp.example/backup/internal/event"
	"wepp.example/backup/internal/postgres"
	"wepp.example/backup/internal/scratch"
	"wepp.example/backup/internal/source"
	"wepp.example/backup/internal/swap"
)

// Move is what was asked for.
type Move struct {
	Source   *source.Source
	Target   postgres.Server
	Database string // of the target, that becomes the moved one
	Folder   string // for the dump
	FromHere string // host by which the target's server reaches the source, for the live way
	Jobs     int
	Live     bool
	Force    bool
	Report   *event.Reporter
	// Revision asks a database for the schema revision of the application; empty where there is none.
	Revision func(context.Context, *pgx.Conn) (string, error)
}

// run is one move under way.
type run struct {
	*Move
	plan     *Plan
	lock     *scratch.Lock
	incoming *scratch.Database
	answer   Answer
	undo     []func()
	// moved: the moved database is live, or may be, for all that is known.
	moved bool
	clock time.Time
}

// Run moves. Whatever goes wrong before the swap leaves source and target as they were.
func (m *Move) Run(ctx context.Context, plan *Plan, lock *scratch.Lock, words Words) (answer Answer, err error) {
	r := &run{Move: m, plan: plan, lock: lock, clock: time.Now(), answer: Answer{
		Database: m.Database, Source: plan.Source, RolesMade: []string{}, Notes: plan.Notes, Seconds: map[string]float64{},
	}}
	defer func() {
		if err != nil {
			r.takeBack()
		}
	}()
	r.sweep(ctx)
	if m.Live {
		err = r.live(ctx, words)
	} else {
		err = r.atRest(ctx, words)
	}
	return r.answer, err
}

// later adds what is to be done when the move does not come to its end; the last one added is done first.
func (r *run) later(what func()) { r.undo = append(r.undo, what) }

func (r *run) takeBack() {
	for i := len(r.undo) - 1; i >= 0; i-- {
		r.undo[i]()
	}
	r.undo = nil
}

// lap notes how long the phase that ends now took.
func (r *run) lap(phase string) {
	now := time.Now()
	r.answer.Seconds[phase] = now.Sub(r.clock).Round(time.Millisecond).Seconds()
	r.clock = now
}

func (r *run) atRest(ctx context.Context, words Words) error {
	held, err := r.Source.Hold(ctx)
	if err != nil {
		return err
	}
	defer held.Release()
	there, err := r.copyAcross(ctx, held)
	if err != nil {
		return err
	}
	if err := r.unwritten(ctx, held.Mark, there, true); err != nil {
		return err
	}
	// From here on an exact check would take as long as reading all again; the mark is taken anew for a quick one.
	mark, err := r.Source.Now(ctx)
	if err != nil {
		return err
	}
	if err := r.await(ctx, words, there, 0); err != nil {
		return err
	}
	r.clock = time.Now()
	if err := r.unwritten(ctx, mark, there, false); err != nil {
		return err
	}
	if err := r.swap(ctx); err != nil {
		return err
	}
	r.lap("downtime")
	if after, err := r.Source.Now(ctx); err == nil && !mark.Untouched(after) && mark.Changes(after) > 0 {
		r.answer.Notes = append(r.answer.Notes, fmt.Sprintf("the source was written while the databases were swapped (%d rows): what wrote there must now write to the stack", mark.Changes(after)))
	}
	return r.conclude(ctx, words)
}

// copyAcross reads and hashes the held moment, loads it beside the live database and compares. It returns what the
// source held.
func (r *run) copyAcross(ctx context.Context, held *source.Snapshot) (census.Hashes, error) {
	tables, err := streams(ctx, held.Session)
	if err == nil {
		err = held.Keep(ctx, names(tables))
	}
	if err != nil {
		return census.Hashes{}, err
	}
	working, stop := context.WithCancel(ctx)
	travelled := make(chan struct{})
	reads, under := r.read(working, held, travelled)
	// The session that reads is the snapshot's: nobody may let go of it before the reading has ended.
	defer func() { stop(); <-under.done }()
	err = r.load(reads, held, tables, travelled)
	if cause := context.Cause(reads); cause != nil {
		err = cause
	}
	if err != nil {
		return census.Hashes{}, err
	}
	var there census.Hashes
	err = r.incoming.AnalyseWhile(reads, r.Jobs, func(ctx context.Context) (err error) {
		if there, err = under.result(ctx); err != nil {
			return err
		}
		return r.compare(ctx, held, there)
	})
	r.lap("compare")
	return there, err
}

// load dumps the held moment, but for the rows of the tables, and loads all beside the live database. It closes `travelled`
// when the tables have been read.
func (r *run) load(ctx context.Context, held *source.Snapshot, tables []stream, travelled chan<- struct{}) error {
	folder, err := r.dump(ctx, held, tables)
	defer removeFolder(folder)
	if err != nil {
		return err
	}
	r.lap("dump")
	if err := r.makeRoles(ctx); err != nil {
		return err
	}
	if r.incoming, err = scratch.Create(ctx, r.lock, r.plan.Locale); err != nil {
		return err
	}
	r.later(func() { r.incoming.Drop(r.Report) })
	dump, err := archive.Open(folder)
	if err != nil {
		return err
	}
	r.answer.DumpBytes = dump.Bytes
	if len(tables) == 0 { // the dump has all, and each job loads some of it
		close(travelled)
		err = r.incoming.Load(ctx, dump, r.Jobs, r.plan.Source.Bytes, r.Report)
	} else {
		err = r.incoming.LoadAround(ctx, dump, r.Jobs, r.plan.Source.Bytes, r.Report, func(ctx context.Context) error {
			err := r.stream(ctx, held, tables)
			if err == nil {
				close(travelled)
			}
			return err
		})
	}
	if err != nil {
		return err
	}
	r.lap("load")
	return r.carrySettings(ctx)
}

func (r *run) swap(ctx context.Context) error {
	if err := swap.RefuseStrangers(ctx, r.lock, r.Force); err != nil {
		return err
	}
	kept, err := swap.Swap(ctx, r.lock, r.incoming.Name, true, "replaced by a move from PostgreSQL "+r.plan.Source.ServerText)
	r.answer.Kept = kept
	r.moved = err == nil || event.IsUnknown(err)
	return err
}

// inside opens a session in the new database whose work fires none of its event triggers, where the server can do that
// (17 on): they have fired on the source for what is repeated here.
func (r *run) inside(ctx context.Context) (*pgx.Conn, error) {
	session, err := r.incoming.Connect(ctx)
	if err != nil || r.plan.Target.Version < 170000 {
		return session, err
	}
	_, err = session.Exec(ctx, "set event_triggers = off")
	return session, err
}
