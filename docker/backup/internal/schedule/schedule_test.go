package schedule

import (
	"context"
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"wepp.example/backup/internal/backup"
	"wepp.example/backup/internal/event"
	"wepp.example/backup/internal/vault"
)

const (
	hour = time.Hour
	day  = 24 * hour
)

var noon = time.Date(2026, 3, 29, 12, 0, 0, 0, time.UTC)

// clock of a test: sleeping moves it, and somebody may set the wall's.
type clock struct {
	wall    time.Time
	elapsed time.Duration
}

func (c *clock) Now() time.Time                               { return c.wall }
func (c *clock) Elapsed() time.Duration                       { return c.elapsed }
func (c *clock) Sleep(_ context.Context, pause time.Duration) { c.pass(pause) }
func (c *clock) pass(pause time.Duration)                     { c.wall, c.elapsed = c.wall.Add(pause), c.elapsed+pause }

// scene is a keeper whose backups are files made in no time.
type scene struct {
	*Keeper
	clock  *clock
	fails  error
	made   []time.Duration // when, in time that really went by
	drills []string
	drill  error
	empty  bool // so is the database
}

func start(t *testing.T) *scene {
	t.Helper()
	made := &scene{clock: &clock{wall: noon}}
	made.Keeper = &Keeper{
		Vault: vault.Vault{Folder: t.TempDir(), Database: "wepppy"}, Interval: day, Keep: 7 * day, Clock: made.clock,
		Report: event.New(io.Discard, false, time.Now), wall: noon,
		Backup: func(context.Context) (backup.Made, error) {
			made.made = append(made.made, made.clock.elapsed)
			if made.fails == nil {
				made.put(t, made.clock.wall)
			}
			return backup.Made{}, made.fails
		},
		Filled: func(context.Context) bool { return !made.empty },
		Drill: func(_ context.Context, dump vault.Entry) error {
			made.drills = append(made.drills, dump.Name)
			if made.drill != nil {
				return made.drill
			}
			return made.Vault.WriteLastDrill(vault.LastDrill{Name: dump.Name, Drill: vault.Drill{Drilled: made.clock.wall, OK: true}})
		},
	}
	return made
}

// put lays a verified backup of that moment into the folder.
func (s *scene) put(t *testing.T, at time.Time) {
	t.Helper()
	name := vault.Name("wepppy", at)
	for _, suffix := range []string{"", vault.ChecksumSuffix} {
		if err := os.WriteFile(s.Vault.Path(name)+suffix, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	manifest := vault.Manifest{Format: vault.Format, Name: name, Created: at}
	if !s.empty {
		manifest.Tables = map[string]int64{"public.alembic_version": 1}
	}
	if err := vault.WriteManifest(s.Vault.Path(name), manifest); err != nil {
		t.Fatal(err)
	}
}

// run lets the keeper work for a while.
func (s *scene) run(during time.Duration) {
	for until := s.clock.elapsed + during; s.clock.elapsed < until; {
		// Longer than the real one, for a year of looks takes its time.
		s.clock.pass(min(s.Round(context.Background()), 10*longestSleep, until-s.clock.elapsed))
	}
}

func (s *scene) count(t *testing.T, want int, why string) {
	t.Helper()
	if len(s.made) != want {
		t.Fatalf("%d backups at %v instead of %d: %s", len(s.made), s.made, want, why)
	}
}

func TestTheFirstBackupIsMadeAtOnceAndThenOnePerInterval(t *testing.T) {
	s := start(t)
	s.run(time.Second)
	s.count(t, 1, "none was there")
	s.run(3 * day)
	s.count(t, 4, "one a day")
	for i, at := range s.made {
		if want := time.Duration(i) * day; at < want || at > want+longestSleep {
			t.Errorf("number %d was made after %s", i, at)
		}
	}
}

func TestAStartSoonAfterABackupWaitsForTheRestOfTheInterval(t *testing.T) {
	s := start(t)
	s.put(t, noon.Add(-23*hour))
	s.run(59 * time.Minute)
	s.count(t, 0, "it is 23 hours old")
	s.run(2 * time.Minute)
	s.count(t, 1, "now it is a day old")
}

func TestABackupOfADatabaseWithoutTablesIsFollowedByOneAsSoonAsItHasSome(t *testing.T) {
	s := start(t)
	s.empty = true
	s.run(hour)
	s.count(t, 1, "an empty database need not be backed up again and again")
	s.empty = false
	s.run(emptyPause + time.Second)
	s.count(t, 2, "its first migration has been made")
	s.run(23 * hour)
	s.count(t, 2, "and that backup is young enough")
	s.empty = true // emptied by somebody: what there was is in the earlier backup
	s.run(hour)
	s.count(t, 3, "a day later, as ever")
}

func TestAnEmptyDatabaseIsBackedUpOncePerIntervalToo(t *testing.T) {
	s := start(t)
	s.empty = true
	s.run(3*day + hour)
	s.count(t, 4, "one a day")
}

func TestAfterDowntimeOneBackupIsMadeAtOnceAndNotOneForEachThatWasMissed(t *testing.T) {
	s := start(t)
	s.put(t, noon.Add(-30*day))
	s.run(hour)
	s.count(t, 1, "caught up")
}

func TestABackupMadeByHandMovesTheNextOne(t *testing.T) {
	s := start(t)
	s.run(12 * hour)
	s.put(t, s.clock.wall)
	s.run(23 * hour)
	s.count(t, 1, "the one by hand is 23 hours old")
	s.run(2 * hour)
	s.count(t, 2, "and now a day")
}

func TestClocksThatAreSetDoNoLastingHarm(t *testing.T) {
	for title, each := range map[string]struct {
		by         time.Duration
		soon, then int // backups within ten minutes of the setting, and two days later
	}{
		"back by a second":        {-time.Second, 0, 2},
		"back by an hour":         {-hour, 1, 2}, // the last one is from the future now and says nothing, for an hour
		"back by a month":         {-30 * day, 1, 3},
		"back by ten years":       {-3650 * day, 1, 3},
		"forward by an hour":      {hour, 0, 2},
		"forward by a day":        {day, 1, 3},
		"forward by a month":      {30 * day, 1, 3},
		"forward by ten years":    {3650 * day, 1, 3},
		"not at all (DST is UTC)": {0, 0, 2},
	} {
		t.Run(title, func(t *testing.T) {
			s := start(t)
			s.run(time.Minute)
			s.made = nil
			s.clock.wall = s.clock.wall.Add(each.by)
			s.run(10 * time.Minute)
			s.count(t, each.soon, "soon after")
			s.run(2 * day)
			s.count(t, each.then, "two days later")
		})
	}
}

func TestAClockThatRunsAheadAndIsSetBackStopsNoBackups(t *testing.T) {
	s := start(t)
	s.run(time.Minute)
	s.clock.wall = s.clock.wall.Add(365 * day)
	s.run(time.Minute)
	s.clock.wall = s.clock.wall.Add(-365 * day)
	s.made = nil
	s.run(5 * day)
	if len(s.made) < 5 || len(s.made) > 6 {
		t.Fatalf("%d backups in five days", len(s.made))
	}
}

func TestNothingIsPrunedInTheRoundInWhichTheClockWasSet(t *testing.T) {
	s := start(t)
	for age := 1; age <= 6; age++ {
		s.put(t, noon.Add(time.Duration(-age)*day))
	}
	s.clock.wall = s.clock.wall.Add(365 * day)
	s.run(hour)
	s.count(t, 1, "the others are a year old by that clock")
	if entries, _ := s.Vault.List(); len(entries) != 7 {
		t.Fatalf("%d are left of 7", len(entries))
	}
	s.run(day)
	if entries, _ := s.Vault.List(); len(entries) != 2 {
		t.Fatalf("%d are left: the next round believes the clock", len(entries))
	}
}

func TestOldBackupsGoAfterEachNewOneAndStayWhileBackupsFail(t *testing.T) {
	s := start(t)
	for age := 1; age <= 9; age++ {
		s.put(t, noon.Add(time.Duration(-age)*day))
	}
	s.fails = errors.New("the server is away")
	s.run(day)
	if entries, _ := s.Vault.List(); len(entries) != 9 {
		t.Fatalf("%d are left of 9", len(entries))
	}
	s.fails = nil
	s.run(hour)
	entries, _ := s.Vault.List()
	if len(entries) != 6 || entries[5].Created != noon.Add(-5*day) {
		t.Fatalf("%d are left", len(entries))
	}
}

func TestAFailedBackupIsTriedAgainSoonAndLessAndLessOften(t *testing.T) {
	s := start(t)
	s.fails = errors.New("the server is away")
	s.run(2 * hour)
	if s.made[1] != firstRetry || s.made[2] != 3*firstRetry {
		t.Fatal(s.made)
	}
	last := len(s.made) - 1
	if pause := s.made[last] - s.made[last-1]; pause != longestRetry {
		t.Fatalf("the last pause was %s", pause)
	}
	tries := len(s.made)
	s.fails = nil
	s.run(longestRetry)
	s.count(t, tries+1, "it succeeded at last")
	s.run(23 * hour)
	s.count(t, tries+1, "and is young")
}

func TestAShortIntervalIsNotWaitedOutByRetries(t *testing.T) {
	s := start(t)
	s.Interval, s.fails = 20*time.Second, errors.New("the server is away")
	s.run(time.Minute)
	if len(s.made) < 10 {
		t.Fatal(s.made)
	}
}
