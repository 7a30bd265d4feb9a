package backup

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"wepp.example/backup/internal/postgres"
	"wepp.example/backup/internal/scratch"
)

// swapPatience is what a swap may take from the end of our sessions to its commit: the server waits 5 seconds for those
// that do not let go.
const (
	swapPatience = 10 * time.Second
	lookPause    = 100 * time.Millisecond
)

// number of the live database, 0 where it cannot be had: the try to make a backup will tell why.
func (m Maker) number(ctx context.Context) uint32 {
	session, err := m.maintenance(ctx)
	if err != nil {
		return 0
	}
	defer session.Close(context.Background()) //nolint:errcheck // told all it had to
	number, _, err := scratch.Standing(ctx, session, m.Vault.Database)
	if err != nil {
		return 0
	}
	return number
}

// replaced is whether a restore or move put another database in the place of this one, which ends the sessions of a
// dump. While somebody holds the right to do so, the answer may be a moment away.
func (m Maker) replaced(ctx context.Context, number uint32) bool {
	if number == 0 || ctx.Err() != nil {
		return false
	}
	session, err := m.maintenance(ctx)
	if err != nil {
		return false
	}
	defer session.Close(context.Background()) //nolint:errcheck // told all it had to
	for until := time.Now().Add(swapPatience); ; {
		now, changing, err := scratch.Standing(ctx, session, m.Vault.Database)
		if err != nil || now != number {
			return err == nil && now != 0
		}
		if !changing || time.Now().After(until) {
			return false
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(lookPause):
		}
	}
}

func (m Maker) maintenance(ctx context.Context) (*pgx.Conn, error) {
	return m.Server.Connect(ctx, postgres.Maintenance(m.Vault.Database))
}
