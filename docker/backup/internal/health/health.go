// Package health owns the answer to whether the backups are well: the newest verified one is young enough, the last try
// did not fail, the last test restore was equal, and the next one could be held.
package health

import (
	"fmt"
	"time"

	"wepp.example/backup/internal/vault"
)

// firstPatience is how long the first backup of all may be under way before its container passes for well nevertheless:
// a start must not wait for hours of dumping, and a short one is waited for.
const firstPatience = time.Minute

// Limit is the age up to which the newest backup is young enough: an interval, and a quarter for making the next one.
func Limit(interval time.Duration) time.Duration { return interval + interval/4 }

// drillPatience is how long a test restore may be tried once it is due: a quarter of its interval, as with backups.
func drillPatience(interval time.Duration) time.Duration { return max(interval/4, firstPatience) }

// Look judges the folder. ok: all is well; either way, what there is to say in one line. drillInterval 0: no test
// restores are wanted.
func Look(backups vault.Vault, interval, drillInterval time.Duration, now time.Time) (text string, ok bool) {
	entries, err := backups.List()
	if err != nil {
		return err.Error(), false
	}
	newest, found := vault.Newest(entries, now)
	attempt, drilled, try := backups.ReadAttempt(), backups.ReadLastDrill(), backups.ReadDrillTry()
	if found && newest.FromTheFuture(now) {
		return fmt.Sprintf("the only verified backups are from the future (%s): the clock was set back, a new one is due", newest.Name), false
	}
	last := "there is no verified backup yet"
	if found {
		last = fmt.Sprintf("the last verified backup (%s) is %s old", newest.Name, Age(now.Sub(newest.Created)))
	}
	switch {
	case failed(attempt) && !(found && newest.Created.After(attempt.Started)):
		return fmt.Sprintf("the last try failed %s ago: %s; %s", Age(now.Sub(attempt.Ended)), attempt.Problem, last), false
	case !found && attempt.Ended.IsZero() && !attempt.Started.IsZero() && now.Sub(attempt.Started) > firstPatience:
		return fmt.Sprintf("%s, the first is being made since %s", last, Age(now.Sub(attempt.Started))), true
	case !found:
		return last, false
	case now.Sub(newest.Created) > Limit(interval):
		return fmt.Sprintf("%s, more than the %s allowed (BACKUP_INTERVAL_SECONDS and a quarter)", last, Age(Limit(interval))), false
	case !drilled.Drilled.IsZero() && !drilled.OK:
		return fmt.Sprintf("the last test restore (%s, %s ago) failed: %s; %s", drilled.Name, Age(now.Sub(drilled.Drilled)), drilled.Problem, last), false
	case drillInterval > 0 && try.Waits(drilled) && now.Sub(try.Since) > drillPatience(drillInterval):
		return fmt.Sprintf("no test restore could be held for %s (one is due every %s): %s; %s", Age(now.Sub(try.Since)), Age(drillInterval), reason(try), last), false
	}
	return last, true
}

func reason(try vault.DrillTry) string {
	if try.Problem == "" {
		return "the first try has not ended"
	}
	return try.Problem
}

func failed(attempt vault.Attempt) bool { return !attempt.Ended.IsZero() && !attempt.OK }

// Age for people: its two largest units.
func Age(age time.Duration) string {
	seconds := int64(max(age, 0) / time.Second)
	switch {
	case seconds >= 86400:
		return fmt.Sprintf("%d d %d h", seconds/86400, seconds%86400/3600)
	case seconds >= 3600:
		return fmt.Sprintf("%d h %d min", seconds/3600, seconds%3600/60)
	case seconds >= 60:
		return fmt.Sprintf("%d min %d s", seconds/60, seconds%60)
	}
	return fmt.Sprintf("%d s", seconds)
}
