package scratch

import (
	"errors"
	"strings"
	"testing"

	"wepp.example/backup/internal/archive"
	"wepp.example/backup/internal/event"
)

func TestJobsShareTheMemoryThatTheServerHasForSorting(t *testing.T) {
	for jobs, wanted := range map[int]string{1: "384MB", 2: "384MB", 4: "192MB", 64: "64MB"} {
		if got := sorting(jobs); got != " -c maintenance_work_mem="+wanted {
			t.Errorf("%d jobs: %s", jobs, got)
		}
	}
}

func TestADumpIsOnlyRefusedForWhatItHolds(t *testing.T) {
	ended := errors.New("exit status 1")
	for _, each := range []struct {
		told  string
		exit  int
		words string
	}{
		{"pg_restore: error: could not execute query: ERROR:  type \"no\" does not exist\n", event.ExitRefused, "some.dump cannot be loaded: type \"no\" does not exist"},
		{"", event.ExitRefused, "some.dump cannot be loaded: exit status 1"},
		{"pg_restore: error: could not execute query: ERROR:  role \"mara\" does not exist\n", event.ExitRefused, "roles that this server does not have: mara"},
		{"pg_restore: error: could not execute query: ERROR:  could not extend file \"base/1/2\": wrote only 4096 of 8192 bytes at block 14\n", event.ExitFailed, "the server's disk is full"},
		{"pg_restore: error: a worker process died unexpectedly\n", event.ExitFailed, "a worker of pg_restore died over some.dump"},
		{"pg_restore: error: could not read from input file: Input/output error\n", event.ExitRefused, "some.dump cannot be read: input/output error"},
		{"pg_restore: error: out of memory\n", event.ExitRefused, "some.dump cannot be loaded: out of memory"}, // as when it is verified
		{"pg_restore: error: could not execute query: ERROR:  no\npg_restore: error: a worker process died unexpectedly\n", event.ExitRefused, "cannot be loaded: no"},
	} {
		problem := event.ProblemOf(refusal("some.dump", each.told, ended))
		if problem.Exit != each.exit || !strings.Contains(problem.What, each.words) {
			t.Errorf("%s: %+v", each.told, problem)
		}
	}
}

func TestStatisticsThatCannotBeGatheredAreNoFaultOfADump(t *testing.T) {
	problem := event.ProblemOf(statistics("vacuumdb: error: processing of database \"x\" failed: ERROR:  no\n", errors.New("exit status 1")))
	if problem.Exit != event.ExitFailed || !strings.Contains(problem.What, "statistics could not be gathered") {
		t.Errorf("%+v", problem)
	}
}

func TestRowsComeFrozenOnlyWherePgRestoreEmptiesTheirTableAndTheTableIsThisServers(t *testing.T) {
	schema := "CREATE TABLE public.foreign (id int);\n"
	for _, each := range []struct {
		kind   archive.Kind
		jobs   int
		schema string
		major  int
		wanted bool
	}{
		{archive.Custom, 2, schema, 17, true},
		{archive.Directory, 8, schema, 17, true},
		{archive.Custom, 1, schema, 17, false},
		{archive.Tar, 2, schema, 17, false},
		{archive.Custom, 2, schema, 13, false},
		{archive.Custom, 2, schema + "CREATE FOREIGN TABLE public.far (id int)\nSERVER away;\n", 17, false},
	} {
		if got := freezable(archive.Archive{Kind: each.kind}, each.jobs, []byte(each.schema), each.major); got != each.wanted {
			t.Errorf("%+v: %t", each, got)
		}
	}
}
