package source

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"wepp.example/backup/internal/event"
	"wepp.example/backup/internal/postgres"
	"wepp.example/backup/internal/servertest"
)

const (
	sealed    = "select count(*) from pg_db_role_setting, unnest(setconfig) c where c = 'default_transaction_read_only=on'"
	slots     = "select count(*) from pg_replication_slots"
	published = "select count(*) from pg_publication"
)

// interrupted gives a source as a move leaves it that dies in its cut-over: slot, publication, closed to writers. Of the
// two ways in, `mover` may take away slot and publication, but may not open the database, whose owner he is not.
func interrupted(t *testing.T) (owner, mover *Source) {
	t.Helper()
	patience := closePatience
	closePatience = time.Second
	t.Cleanup(func() { closePatience = patience })
	server := servertest.Start(t, "wal_level=logical")
	servertest.Do(t, server, "wepppy",
		"CREATE ROLE mover LOGIN REPLICATION",
		"GRANT CREATE ON DATABASE wepppy TO mover",
		"SET ROLE mover; CREATE PUBLICATION wepp_move_1; RESET ROLE",
		"SELECT pg_create_logical_replication_slot('wepp_move_1', 'pgoutput')",
		"ALTER DATABASE wepppy SET default_transaction_read_only = on")
	other := server
	other.User = "mover"
	return &Source{Server: server, Database: "wepppy"}, &Source{Server: other, Database: "wepppy"}
}

func count(t *testing.T, server postgres.Server, question string) (found int) {
	t.Helper()
	if err := servertest.Session(t, server, "wepppy").QueryRow(context.Background(), question).Scan(&found); err != nil {
		t.Fatal(err)
	}
	return found
}

func expect(t *testing.T, server postgres.Server, wanted map[string]int) {
	t.Helper()
	for question, number := range wanted {
		if got := count(t, server, question); got != number {
			t.Errorf("%s: %d instead of %d", question, got, number)
		}
	}
}

func listen() (*event.Reporter, *bytes.Buffer) {
	var told bytes.Buffer
	return event.New(&told, false, time.Now), &told
}

func TestWhatCannotBeOpenedAgainKeepsThePublicationByWhichTheNextOneKnows(t *testing.T) {
	owner, mover := interrupted(t)
	report, _ := listen()
	if err := mover.TakeBack(false, report); err == nil || !strings.Contains(err.Error(), "must be owner of database") {
		t.Fatalf("got %v", err)
	}
	expect(t, owner.Server, map[string]int{slots: 0, published: 1, sealed: 1})
	if err := owner.TakeBack(false, report); err != nil {
		t.Fatal(err)
	}
	expect(t, owner.Server, map[string]int{slots: 0, published: 0, sealed: 0})
}

func TestASourceThatWasMovedStaysClosedWhenTheRestIsTakenBack(t *testing.T) {
	owner, mover := interrupted(t)
	report, _ := listen()
	if err := mover.TakeBack(true, report); err != nil {
		t.Fatal(err)
	}
	expect(t, owner.Server, map[string]int{slots: 0, published: 0, sealed: 1})
}

func TestAMoveThatCouldNotOpenItsSourceLeavesThePublicationAndSaysSo(t *testing.T) {
	owner, mover := interrupted(t)
	report, told := listen()
	(&Seal{source: mover}).Break(report)
	(&Channel{Name: "wepp_move_1", source: mover}).Close(report)
	expect(t, owner.Server, map[string]int{slots: 0, published: 1, sealed: 1})
	if !strings.Contains(told.String(), "the source is still read-only") {
		t.Errorf("told: %s", told)
	}
}

func TestAMoveThatDoesNotKnowWhatIsLiveLeavesThePublicationAndSaysSo(t *testing.T) {
	owner, _ := interrupted(t)
	report, told := listen()
	(&Seal{source: owner}).Leave(report)
	(&Channel{Name: "wepp_move_1", source: owner}).Close(report)
	expect(t, owner.Server, map[string]int{slots: 0, published: 1, sealed: 1})
	if !strings.Contains(told.String(), "RESET default_transaction_read_only") {
		t.Errorf("told: %s", told)
	}
}

func TestAMoveThatOpenedItsSourceLeavesNothing(t *testing.T) {
	owner, _ := interrupted(t)
	report, told := listen()
	(&Seal{source: owner}).Break(report)
	(&Channel{Name: "wepp_move_1", source: owner}).Close(report)
	expect(t, owner.Server, map[string]int{slots: 0, published: 0, sealed: 0})
	if told.Len() != 0 {
		t.Errorf("told: %s", told)
	}
}
