package scratch

import (
	"errors"
	"strings"
	"testing"
)

func TestJobsShareTheMemoryThatTheServerHasForSorting(t *testing.T) {
	for jobs, wanted := range map[int]string{1: "384MB", 2: "384MB", 4: "192MB", 64: "64MB"} {
		if got := sorting(jobs); got != " -c maintenance_work_mem="+wanted {
			t.Errorf("%d jobs: %s", jobs, got)
		}
	}
}

func TestAFullDiskIsNoFaultOfTheDump(t *testing.T) {
	for _, words := range []string{
		`could not extend file "base/16397/16400": No space left on device`,
		`could not extend file "base/16397/16400": wrote only 4096 of 8192 bytes at block 14`,
		`could not write to file "base/pgsql_tmp/pgsql_tmp77.0": Disk quota exceeded`,
	} {
		told := "pg_restore: error: could not execute query: ERROR:  " + words + "\nHINT:  Check free disk space.\n"
		err := refusal("some.dump", told, errors.New("exit status 1"))
		if !strings.Contains(err.Error(), "the server's disk is full: "+words) {
			t.Errorf("%s: %v", words, err)
		}
	}
	err := refusal("some.dump", "pg_restore: error: could not execute query: ERROR:  no such type", errors.New("exit status 1"))
	if strings.Contains(err.Error(), "full") {
		t.Error(err)
	}
}
