package vault

import (
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

const (
	attemptName = ".last-attempt.json"
	drillName   = ".last-drill.json"
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
