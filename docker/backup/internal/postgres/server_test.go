package postgres_test

import (
	"context"
	"testing"
	"time"

	"wepp.example/backup/internal/servertest"
)

func TestASessionOutlivesTheLimitsThatTheServersOwnerSet(t *testing.T) {
	server := servertest.Start(t, "idle_session_timeout=200", "transaction_timeout=200",
		"statement_timeout=200", "lock_timeout=200", "idle_in_transaction_session_timeout=200")
	servertest.Do(t, server, "postgres", "ALTER DATABASE wepppy SET transaction_timeout = 100", "ALTER ROLE wepppy SET idle_session_timeout = 100")
	session := servertest.Session(t, server, "wepppy")
	for _, statement := range []string{"SELECT 1", "BEGIN", "SELECT pg_sleep(0.5)", "COMMIT", "SELECT 1"} {
		time.Sleep(300 * time.Millisecond)
		if _, err := session.Exec(context.Background(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}
