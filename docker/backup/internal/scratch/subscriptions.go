package scratch

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"wepp.example/backup/internal/postgres"
)

// DropSubscriptions ends the subscriptions of the session's database and leaves their slots alone, which may be on a
// server that is away. A database with a subscription can be neither dropped nor used as a copy.
func DropSubscriptions(ctx context.Context, session *pgx.Conn) error {
	names, err := postgres.Strings(ctx, session,
		"select subname::text from pg_subscription where subdbid = (select oid from pg_database where datname = current_database())")
	if err != nil {
		return fmt.Errorf("looking for subscriptions: %w", err)
	}
	for _, name := range names {
		for _, statement := range []string{"alter subscription %s disable", "alter subscription %s set (slot_name = none)", "drop subscription %s"} {
			if _, err := session.Exec(ctx, fmt.Sprintf(statement, postgres.Quote(name))); err != nil {
				return fmt.Errorf("dropping the subscription %s: %w", name, err)
			}
		}
	}
	return nil
}

// unsubscribe does that in a database that is about to be dropped, if it is needed there.
func unsubscribe(ctx context.Context, server postgres.Server, session *pgx.Conn, database string) error {
	var needed bool
	err := session.QueryRow(ctx, `select exists (select from pg_subscription s join pg_database d on d.oid = s.subdbid where d.datname = $1)`, database).Scan(&needed)
	if err != nil || !needed {
		return err
	}
	inside, err := server.Connect(ctx, database)
	if err != nil {
		return err
	}
	defer inside.Close(context.Background()) //nolint:errcheck // nothing depends on it
	return DropSubscriptions(ctx, inside)
}
