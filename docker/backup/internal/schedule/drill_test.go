package schedule

import (
	"context"
	"errors"
	"testing"
	"time"

	"wepp.example/backup/internal/health"
	"wepp.example/backup/internal/texttest"
	"wepp.example/backup/internal/vault"
)

func TestTestRestoresComeAtTheirOwnInterval(t *testing.T) {
	s := start(t)
	s.DrillInterval = 3 * day
	s.run(hour)
	if len(s.drills) != 1 {
		t.Fatalf("%q at first", s.drills)
	}
	s.run(9 * day)
	if len(s.drills) != 4 || s.drills[0] == s.drills[3] {
		t.Fatalf("%q", s.drills)
	}
	s.clock.wall = s.clock.wall.Add(-30 * day)
	s.run(hour)
	if len(s.drills) != 5 {
		t.Fatalf("%q after the clock was set back", s.drills)
	}
}

func TestATestRestoreThatCouldNotBeHeldIsTriedAgain(t *testing.T) {
	s := start(t)
	s.DrillInterval, s.drill = 30*day, errors.New("another restore is under way")
	s.run(hour)
	if len(s.drills) < 3 || len(s.drills) > 12 {
		t.Fatalf("%d tries in an hour", len(s.drills))
	}
	s.drill = nil
	s.run(hour)
	tries := len(s.drills)
	s.run(day)
	if len(s.drills) != tries {
		t.Fatal("it had been held")
	}
}

func TestNoTestRestoreWithoutAnInterval(t *testing.T) {
	s := start(t)
	s.run(5 * day)
	if s.drills != nil {
		t.Fatal(s.drills)
	}
}

func TestABackupOfAnEmptyDatabaseIsNotTestedAndOneWithTablesSoonIs(t *testing.T) {
	s := start(t)
	s.DrillInterval, s.empty = 30*day, true
	s.run(hour)
	if s.drills != nil {
		t.Fatal("restoring nothing proves nothing")
	}
	s.empty = false
	s.run(5 * time.Minute)
	if len(s.drills) != 1 {
		t.Fatalf("%q", s.drills)
	}
}

func (s *scene) look(t *testing.T, want bool, words ...string) {
	t.Helper()
	text, ok := health.Look(s.Vault, s.Interval, s.DrillInterval, s.clock.wall)
	if ok != want {
		t.Errorf("ok is %v: %s", ok, text)
	}
	texttest.Holds(t, text, words...)
}

func TestATestRestoreThatCannotBeHeldTurnsHealthRedAfterAQuarterOfItsInterval(t *testing.T) {
	s := start(t)
	s.DrillInterval, s.drill = 8*day, errors.New("another restore is under way")
	s.run(2*day - hour)
	s.look(t, true)
	s.run(2 * hour)
	s.look(t, false, "no test restore could be held for 2 d", "every 8 d", "another restore is under way", "the last verified backup")
	s.drill = nil
	s.run(hour)
	s.look(t, true)
	// The next one counts from its own day on, not from the first.
	s.drill = errors.New("no room")
	s.run(9 * day)
	s.look(t, true)
	s.run(2 * day)
	s.look(t, false, "no room")
	// One by hand is as good.
	if err := s.Vault.WriteLastDrill(vault.LastDrill{Drill: vault.Drill{Drilled: s.clock.wall, OK: true}}); err != nil {
		t.Fatal(err)
	}
	s.look(t, true)
}

func TestAQuickTestRestoreIsNotTakenForOneThatWasNotHeld(t *testing.T) {
	s := start(t)
	s.DrillInterval = 4 * day
	s.clock.wall = noon.Add(500 * time.Millisecond) // its end is noted in whole seconds, so before its beginning
	s.Keeper.Drill = func(context.Context, vault.Entry) error {
		return s.Vault.WriteLastDrill(vault.LastDrill{Drill: vault.Drill{Drilled: s.clock.wall.Truncate(time.Second), OK: true}})
	}
	s.run(3 * day)
	s.look(t, true)
}

func TestATestRestoreThatHangsTurnsHealthRed(t *testing.T) {
	s := start(t)
	s.DrillInterval = 4 * day
	s.Keeper.Drill = func(context.Context, vault.Entry) error {
		s.clock.pass(day + time.Minute)
		s.put(t, s.clock.wall)
		s.look(t, false, "no test restore could be held for 1 d", "the first try has not ended")
		return nil
	}
	s.run(time.Minute)
}

func TestTestRestoresThatAreSwitchedOffAreNotMissed(t *testing.T) {
	s := start(t)
	s.DrillInterval, s.drill = 4*day, errors.New("no room")
	s.run(2 * day)
	s.look(t, false)
	s.DrillInterval = 0
	s.look(t, true)
	gone, leave := context.WithCancel(context.Background())
	leave()
	s.Run(gone)
	s.DrillInterval = 4 * day
	s.run(hour)
	s.look(t, true) // late from now on only
}

func TestAStoppedSidecarIsNoReasonForATestRestoreNotToBeHeld(t *testing.T) {
	s := start(t)
	s.DrillInterval = 4 * day
	s.put(t, noon)
	ctx, stop := context.WithCancel(context.Background())
	s.Keeper.Drill = func(context.Context, vault.Entry) error {
		stop()
		return ctx.Err()
	}
	s.Round(ctx)
	if try := s.Vault.ReadDrillTry(); try.Problem != "" || try.Since.IsZero() {
		t.Fatal(try)
	}
}
