package scratch

import "testing"

func TestJobsShareTheMemoryThatTheServerHasForSorting(t *testing.T) {
	for jobs, wanted := range map[int]string{1: "384MB", 2: "384MB", 4: "192MB", 64: "64MB"} {
		if got := sorting(jobs); got != " -c maintenance_work_mem="+wanted {
			t.Errorf("%d jobs: %s", jobs, got)
		}
	}
}
