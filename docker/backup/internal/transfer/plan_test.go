package transfer

import (
	"strings"
	"testing"

	"wepp.example/backup/internal/event"
	"wepp.example/backup/internal/source"
)

func TestTheDirectionOfAMove(t *testing.T) {
	for name, each := range map[string]struct {
		from, to int
		words    string
	}{
		"the same major":  {170001, 170012, ""},
		"an older one":    {150018, 170012, ""},
		"the oldest":      {120022, 170012, ""},
		"older than that": {110022, 170012, "majors from 12 on"},
		"a newer one":     {180004, 170012, "the source is PostgreSQL 18 and the stack's server is 17"},
	} {
		plan := &Plan{Source: source.Inventory{Version: each.from}, Target: Target{Version: each.to}}
		(&Move{}).direction(plan)
		err := plan.Refusal()
		if (err == nil) != (each.words == "") {
			t.Errorf("%s: got %v", name, err)
		} else if err != nil && (!strings.Contains(err.Error(), each.words) || event.ProblemOf(err).Exit != event.ExitRefused) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestAllObstaclesAreToldAtOnceAndEachMendOnlyOnce(t *testing.T) {
	plan := &Plan{}
	plan.obstacle("make room there", "the first thing")
	plan.obstacle("make room there", "the second thing")
	plan.obstacle("wait", "the third thing")
	problem := event.ProblemOf(plan.Refusal())
	if problem.What != "the first thing; the second thing; the third thing" || problem.Mend != "make room there; wait" {
		t.Fatalf("got %+v", problem)
	}
}

func TestRolesAreMadeAsTheyWereButNobodyCanLogInAsThem(t *testing.T) {
	got := attributes(source.Role{Name: "a", Superuser: true, Inherit: true, Login: true, Limit: -1})
	if got != " nologin superuser inherit nocreaterole nocreatedb noreplication nobypassrls connection limit -1" {
		t.Fatalf("got %q", got)
	}
}

func TestManyNamesAreShortened(t *testing.T) {
	if got := some([]string{"a", "b", "c", "d", "e", "f", "g"}); got != "a, b, c, d, e and 2 more" {
		t.Fatalf("got %q", got)
	}
}
