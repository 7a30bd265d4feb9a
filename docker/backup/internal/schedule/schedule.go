// Package schedule owns when something is due: the next backup, the next test restore, what is pruned after it. It
// follows the folder, not its own memory, so that it catches up after downtime and takes a backup made by hand into
// account; and it looks at the clock often, so that one that is set back or forward does no lasting harm.
package schedule

import (
	"context"
	"time"

	"wepp.example/backup/internal/backup"
	"wepp.example/backup/internal/event"
	"wepp.example/backup/internal/vault"
)

// Clock tells the time twice: as the wall's clock, which somebody may set, and as what really went by.
type Clock interface {
	Now() time.Time
	Elapsed() time.Duration
	Sleep(ctx context.Context, pause time.Duration)
}

const (
	// longestSleep between two looks at clock and folder.
	longestSleep = time.Minute
	// firstRetry after a failure, doubled with each further one up to longestRetry.
	firstRetry   = 15 * time.Second
	longestRetry = 15 * time.Minute
	// emptyPause between two looks whether a database that held nothing when it was backed up holds something now.
	emptyPause = 10 * time.Second
	// jump of the clock against what really went by, from which on nothing is pruned in that round: a clock that ran
	// ahead by a month would otherwise take all backups but one.
	jump = time.Hour
)

// Keeper makes backups and test restores when they are due.
type Keeper struct {
	Vault         vault.Vault
	Interval      time.Duration
	Keep          time.Duration
	DrillInterval time.Duration // 0: no test restores
	Clock         Clock
	Report        *event.Reporter
	Backup        func(ctx context.Context) (backup.Made, error)
	Filled        func(ctx context.Context) bool                    // whether the database holds a table
	Drill         func(ctx context.Context, dump vault.Entry) error // an error: try again later

	failures, drillFailures int
	notBefore               time.Duration // what must have gone by before the next try
	drillNotBefore          time.Duration
	wall                    time.Time
	elapsed                 time.Duration
	jumped                  bool
}

// Run keeps at it until ctx is over.
func (k *Keeper) Run(ctx context.Context) {
	k.wall, k.elapsed = k.Clock.Now(), k.Clock.Elapsed()
	if k.DrillInterval == 0 {
		k.remember(vault.DrillTry{}) // switched on again later, test restores are not late at once
	}
	for ctx.Err() == nil {
		pause := k.Round(ctx)
		k.Clock.Sleep(ctx, min(pause, longestSleep))
	}
}

// Round does what is due and returns how long there is nothing to do.
func (k *Keeper) Round(ctx context.Context) time.Duration {
	k.watchClock()
	pause := k.backUp(ctx)
	if ctx.Err() == nil && k.DrillInterval > 0 {
		pause = min(pause, k.drill(ctx))
	}
	return max(pause, time.Second)
}

func (k *Keeper) watchClock() {
	now, elapsed := k.Clock.Now(), k.Clock.Elapsed()
	if ahead := now.Sub(k.wall) - (elapsed - k.elapsed); ahead.Abs() > jump {
		k.Report.Note("the clock was set by %s", ahead.Round(time.Second))
		k.jumped = true
	}
	k.wall, k.elapsed = now, elapsed
}

func (k *Keeper) backUp(ctx context.Context) time.Duration {
	if pause := k.notBefore - k.Clock.Elapsed(); pause > 0 {
		return pause
	}
	if pause := k.untilDue(ctx); pause > 0 {
		return pause
	}
	if _, err := k.Backup(ctx); err != nil {
		if ctx.Err() != nil {
			return 0
		}
		k.failures++
		pause := k.retry(k.failures)
		k.notBefore = k.Clock.Elapsed() + pause
		k.Report.Problem(event.ProblemOf(err))
		k.Report.Note("trying again in %s", pause)
		return pause
	}
	k.failures, k.notBefore = 0, 0
	k.prune()
	return k.untilDue(ctx)
}

// untilDue is how long the newest backup is still young enough. One from the future says nothing: a new one is due. So it
// is when the newest one holds nothing and the database by now does: a new stack's first backup is often made before its
// first migration, and would be the only one for a whole interval.
func (k *Keeper) untilDue(ctx context.Context) time.Duration {
	entries, err := k.Vault.List()
	if err != nil {
		return 0 // the try will tell why
	}
	now := k.Clock.Now()
	newest, found := vault.Newest(entries, now)
	if !found || newest.FromTheFuture(now) {
		return 0
	}
	pause := min(newest.Created.Add(k.Interval).Sub(now), k.Interval)
	if !newest.Empty() {
		return pause
	}
	if k.Filled(ctx) {
		return 0
	}
	return min(pause, emptyPause)
}

// retry grows with the failures, and is never so long that a short interval would be missed often.
func (k *Keeper) retry(failures int) time.Duration {
	pause := firstRetry
	for ; failures > 1 && pause < longestRetry; failures-- {
		pause *= 2
	}
	return min(pause, longestRetry, max(k.Interval/4, time.Second))
}

func (k *Keeper) prune() {
	if k.jumped {
		k.jumped = false
		k.Report.Note("nothing is pruned this time, because the clock was set")
		return
	}
	removed, err := k.Vault.Prune(k.Clock.Now(), k.Keep)
	for _, name := range removed {
		k.Report.Note("removed %s, older than %d days", name, int64(k.Keep/(24*time.Hour)))
	}
	if err != nil {
		k.Report.Problem(event.ProblemOf(err))
	}
}

func (k *Keeper) drill(ctx context.Context) time.Duration {
	if pause := k.drillNotBefore - k.Clock.Elapsed(); pause > 0 {
		return pause
	}
	now, last := k.Clock.Now(), k.Vault.ReadLastDrill()
	if !last.Drilled.IsZero() && !last.Drilled.After(now.Add(time.Minute)) {
		if pause := last.Drilled.Add(k.DrillInterval).Sub(now); pause > 0 {
			return pause
		}
	}
	entries, err := k.Vault.List()
	newest, found := vault.Newest(entries, now)
	if err != nil || !found || newest.Empty() {
		return longestSleep
	}
	try := k.Vault.ReadDrillTry()
	if !try.Waits(last) || try.Since.After(now) {
		try = vault.DrillTry{Since: now.UTC().Truncate(time.Second)}
	}
	// Before the try: one that hangs, or dies with the container, shall be noticed, too.
	k.remember(try)
	if err := k.Drill(ctx, newest); err != nil {
		if ctx.Err() != nil {
			return 0
		}
		try.Problem = event.ProblemOf(err).What
		k.remember(try)
		k.drillFailures++
		pause := k.retry(k.drillFailures)
		k.drillNotBefore = k.Clock.Elapsed() + pause
		k.Report.Problem(event.ProblemOf(err))
		return pause
	}
	k.drillFailures, k.drillNotBefore = 0, 0
	return k.DrillInterval
}

func (k *Keeper) remember(try vault.DrillTry) {
	if err := k.Vault.WriteDrillTry(try); err != nil {
		k.Report.Note("the test restore's try is not remembered: %s", err)
	}
}

// System is the machine's clock.
type System struct{ Started time.Time }

// Now is the wall's clock, without what time.Time remembers besides.
func (System) Now() time.Time { return time.Now().Round(0) }

// Elapsed is what went by since the start.
func (s System) Elapsed() time.Duration { return time.Since(s.Started) }

// Sleep ends early when ctx is over.
func (System) Sleep(ctx context.Context, pause time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(pause):
	}
}
