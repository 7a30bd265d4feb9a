package event_test

import (
	"errors"
	"testing"

	"wepp.example/backup/internal/event"
)

func TestARefusalOnTheWayIsAFailure(t *testing.T) {
	err := event.Midway(event.Refuse("mend %s", "%s full: %s", "100%", "x"))
	if problem := event.ProblemOf(err); problem.Exit != event.ExitFailed || problem.What != "100% full: x" || problem.Mend != "mend %s" {
		t.Errorf("%+v", problem)
	}
	if other := errors.New("other"); !errors.Is(event.Midway(other), other) || event.Midway(nil) != nil {
		t.Error("it changed")
	}
}
