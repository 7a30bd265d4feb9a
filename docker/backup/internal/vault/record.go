package vault

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Attempt is the last try to make a backup, whoever made it.
type Attempt struct {
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended,omitzero"` // zero: under way, or killed
	OK      bool      `json:"ok"`
	Name    string    `json:"name,omitempty"`
	Problem string    `json:"problem,omitempty"`
}

// LastDrill is the last test restore, also when the dump that it tried has been pruned.
type LastDrill struct {
	Name string `json:"name"`
	Drill
}

// DrillTry is a test restore that is due: since when it has been tried, and why it could not be held so far.
type DrillTry struct {
	Since   time.Time `json:"since,omitzero"`
	Problem string    `json:"problem,omitempty"`
}

// Waits is true while no test restore was held since the try began; its moment is cut to the second, as theirs are.
func (t DrillTry) Waits(last LastDrill) bool {
	return !t.Since.IsZero() && last.Drilled.Before(t.Since)
}

const (
	attemptName = ".last-attempt.json"
	drillName   = ".last-drill.json"
	tryName     = ".drill-try.json"
)

// WriteAttempt remembers the last try. Where the folder takes nothing any more (the disk is full), it is remembered in
// this container at least.
func (v Vault) WriteAttempt(attempt Attempt) error {
	if err := writeJSON(v.Path(attemptName), attempt); err != nil {
		return writeJSON(filepath.Join(os.TempDir(), attemptName), attempt)
	}
	return nil
}

// ReadAttempt is the last try, the zero one when there was none.
func (v Vault) ReadAttempt() Attempt {
	var here, there Attempt
	readJSON(v.Path(attemptName), &there)                     //nolint:errcheck // none yet
	readJSON(filepath.Join(os.TempDir(), attemptName), &here) //nolint:errcheck // most often none
	if here.Started.After(there.Started) || (here.Started.Equal(there.Started) && there.Ended.IsZero()) {
		return here
	}
	return there
}

// WriteLastDrill remembers the last test restore.
func (v Vault) WriteLastDrill(last LastDrill) error { return writeJSON(v.Path(drillName), last) }

// ReadLastDrill is the last test restore, the zero one when there was none.
func (v Vault) ReadLastDrill() LastDrill {
	var last LastDrill
	readJSON(v.Path(drillName), &last) //nolint:errcheck // none yet
	return last
}

// WriteDrillTry remembers since when a test restore is tried; the zero one: none is.
func (v Vault) WriteDrillTry(try DrillTry) error {
	if try == (DrillTry{}) {
		err := os.Remove(v.Path(tryName))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	return writeJSON(v.Path(tryName), try)
}

// ReadDrillTry is the test restore that is tried, the zero one when none is.
func (v Vault) ReadDrillTry() DrillTry {
	var try DrillTry
	readJSON(v.Path(tryName), &try) //nolint:errcheck // none is
	return try
}
