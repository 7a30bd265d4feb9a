package transfer

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"wepp.example/backup/internal/event"
	"wepp.example/backup/internal/postgres"
	"wepp.example/backup/internal/scratch"
	"wepp.example/backup/internal/source"
)

// absence is how long the server may be without a worker for the subscription before something is wrong: it starts a
// failed one anew every five seconds (wal_retrieve_retry_interval).
const absence = 15 * time.Second

// subscription is the scratch database's end of the channel.
type subscription struct {
	name   string
	inside func(context.Context) (*pgx.Conn, error)
	worked time.Time
	look   *pgx.Conn
}

// subscribe lets the scratch database take in what the slot kept since the snapshot, and what comes.
func (r *run) subscribe(ctx context.Context, channel *source.Channel) (*subscription, error) {
	session, err := r.inside(ctx)
	if err != nil {
		return nil, err
	}
	defer session.Close(context.Background()) //nolint:errcheck // nothing depends on it
	link := &subscription{name: channel.Name, inside: r.inside, worked: time.Now(), look: r.lock.Session}
	r.later(func() {
		ctx, cancel := patience()
		defer cancel()
		if err := link.drop(ctx); err != nil {
			r.Report.Left("the subscription %s could not be dropped: %s", link.name, err)
		}
	})
	// No password: the relay on this socket logs in. As the owner's own rights may be too few, a superuser applies (16+).
	options := "create_slot = false, copy_data = false, synchronous_commit = off, slot_name = " + postgres.Literal(channel.Name)
	if r.plan.Target.Version >= 160000 {
		options += ", run_as_owner = true"
	}
	parts := []string{}
	for _, each := range [][2]string{{"host", r.FromHere}, {"port", "5432"}, {"user", r.Source.Server.User}, {"dbname", r.Source.Database}} {
		parts = append(parts, postgres.Parameter(each[0], each[1]))
	}
	statement := fmt.Sprintf("create subscription %s connection %s publication %s with (%s)",
		channel.Name, postgres.Literal(strings.Join(parts, " ")), channel.Name, options)
	if _, err := session.Exec(ctx, statement); err != nil {
		return nil, event.Fail("see the log: invoke compose-logs --services=postgres", "the stack's server cannot subscribe to the source: %s", err)
	}
	return link, nil
}

// well refuses when changes cannot be applied.
func (s *subscription) well(ctx context.Context) error {
	var working bool
	var errorsSoFar int64
	err := s.look.QueryRow(ctx, `select exists (select from pg_stat_subscription where subname = $1 and pid is not null),
		coalesce((select apply_error_count from pg_stat_subscription_stats where subname = $1), 0)`, s.name).Scan(&working, &errorsSoFar)
	if err != nil {
		return fmt.Errorf("asking for the subscription: %w", err)
	}
	if working {
		s.worked = time.Now()
	}
	if errorsSoFar > 0 || time.Since(s.worked) > absence {
		return event.Fail("see the log (invoke compose-logs --services=postgres), mend it and run it again, or move at rest, without --live",
			"the stack's server cannot apply the source's changes")
	}
	return nil
}

// drop ends the subscription and leaves the slot on the source alone; without one it does nothing.
func (s *subscription) drop(ctx context.Context) error {
	session, err := s.inside(ctx)
	if err != nil {
		return err
	}
	defer session.Close(context.Background()) //nolint:errcheck // nothing depends on it
	return scratch.DropSubscriptions(ctx, session)
}

// refreshViews computes the materialised views anew: they are in no publication. In the order they were made, so that
// one which reads another comes after it.
func (r *run) refreshViews(ctx context.Context) error {
	session, err := r.inside(ctx)
	if err != nil {
		return err
	}
	defer session.Close(context.Background()) //nolint:errcheck // nothing depends on it
	views, err := postgres.Strings(ctx, session, `select format('%I.%I', n.nspname, c.relname) from pg_class c
		join pg_namespace n on n.oid = c.relnamespace where c.relkind = 'm' and c.relispopulated order by c.oid`)
	if err != nil {
		return fmt.Errorf("listing the materialised views: %w", err)
	}
	for _, view := range views {
		r.Report.Note("refreshing %s", view)
		if _, err := session.Exec(ctx, "refresh materialized view "+view); err != nil {
			if full := postgres.Full(err); full != nil {
				return full
			}
			return event.Fail("mend the view on the source, or move at rest", "the view %s cannot be refreshed: %s", view, err)
		}
	}
	return nil
}

// carrySequences sets every sequence to where it stands on the source: logical replication leaves them out.
func (r *run) carrySequences(ctx context.Context) error {
	names, err := postgres.Strings(ctx, r.Source.Session, `select format('%I.%I', n.nspname, c.relname) from pg_class c
		join pg_namespace n on n.oid = c.relnamespace where c.relkind = 'S' and c.relpersistence <> 't'
			and n.nspname !~ '^pg_' and n.nspname <> 'information_schema' order by 1`)
	if err != nil {
		return fmt.Errorf("listing the sequences: %w", err)
	}
	session, err := r.inside(ctx)
	if err != nil {
		return err
	}
	defer session.Close(context.Background()) //nolint:errcheck // nothing depends on it
	const batch = 200
	for start := 0; start < len(names); start += batch {
		some := names[start:min(start+batch, len(names))]
		parts := make([]string, len(some))
		for i, name := range some {
			parts[i] = fmt.Sprintf("select %s, last_value, is_called from %s", postgres.Literal(name), name)
		}
		rows, err := r.Source.Session.Query(ctx, strings.Join(parts, " union all "))
		if err != nil {
			return fmt.Errorf("reading the sequences: %w", err)
		}
		settings := []string{}
		var name string
		var value int64
		var called bool
		if _, err = pgx.ForEachRow(rows, []any{&name, &value, &called}, func() error {
			settings = append(settings, fmt.Sprintf("setval(%s::regclass, %d, %t)", postgres.Literal(name), value, called))
			return nil
		}); err != nil {
			return fmt.Errorf("reading the sequences: %w", err)
		}
		if _, err := session.Exec(ctx, "select "+strings.Join(settings, ", ")); err != nil {
			return fmt.Errorf("setting the sequences: %w", err)
		}
	}
	return nil
}

// patience is for what is done on the way out.
func patience() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), 60*time.Second)
}
