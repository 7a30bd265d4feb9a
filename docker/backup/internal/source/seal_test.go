package source

import (
	"bytes"
	"context"
	"testing"
	"time"

	"wepp.example/backup/internal/event"
	"wepp.example/backup/internal/servertest"
)

func TestAClosedSourceIsOpenedByTheToldStatementTypedInsideIt(t *testing.T) {
	server := servertest.Start(t)
	ctx := context.Background()
	source := &Source{Server: server, Database: "wepppy", Session: servertest.Session(t, server, "wepppy")}
	seal, err := source.Seal(ctx, event.New(new(bytes.Buffer), true, time.Now))
	if err != nil {
		t.Fatal(err)
	}
	const write = "CREATE TABLE public.one (id int)"
	if _, err := servertest.Session(t, server, "wepppy").Exec(ctx, write); err == nil {
		t.Fatal("a closed source takes writes")
	}
	// All at once, as `psql --command` sends it.
	inside := servertest.Session(t, server, "wepppy").PgConn()
	if _, err := inside.Exec(ctx, seal.Undo()).ReadAll(); err != nil {
		t.Fatalf("%s: %v", seal.Undo(), err)
	}
	servertest.Do(t, server, "wepppy", write)
}
