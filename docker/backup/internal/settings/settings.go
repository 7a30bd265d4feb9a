// Package settings owns what the container's environment says: the server, the folder of backups, the schedule.
package settings

import (
	"os"
	"strconv"
	"strings"
	"time"

	"wepp.example/backup/internal/event"
)

// Settings of one container. The password is not among them: libpq and this program read it from PGPASSFILE.
type Settings struct {
	Host, Port, User, Database string
	Folder                     string        // of the backups
	Interval                   time.Duration // between two backups
	Keep                       time.Duration // age at which a backup may be pruned
	DrillInterval              time.Duration // between two test restores; 0: none
	hookURL, hookFile          string        // see Hook
}

// Read takes the settings from the environment (lookup is os.Getenv outside tests).
func Read(lookup func(string) string) (Settings, error) {
	if lookup == nil {
		lookup = os.Getenv
	}
	read := reader{lookup: lookup}
	settings := Settings{
		Host:          read.text("PGHOST", "postgres"),
		Port:          read.text("PGPORT", "5432"),
		User:          read.text("PGUSER", "wepppy"),
		Database:      read.text("PGDATABASE", "wepppy"),
		Folder:        read.text("BACKUP_DIR", "/backups"),
		Interval:      time.Duration(read.number("BACKUP_INTERVAL_SECONDS", 86400, 1)) * time.Second,
		Keep:          time.Duration(read.number("BACKUP_KEEP_DAYS", 7, 0)) * 24 * time.Hour,
		DrillInterval: time.Duration(read.number("BACKUP_DRILL_INTERVAL_SECONDS", 0, 0)) * time.Second,
		hookURL:       read.text("BACKUP_HOOK_URL", ""),
		hookFile:      read.text("BACKUP_HOOK_URL_FILE", ""),
	}
	return settings, read.err
}

// Hook is the address that is told of each success and failure, "" for nobody: from the file of BACKUP_HOOK_URL_FILE,
// for it often holds a token, and a container's variables are no secret. Backups do not depend on it.
func (s Settings) Hook() (string, error) {
	if s.hookFile == "" {
		return s.hookURL, nil
	}
	text, err := os.ReadFile(s.hookFile)
	return strings.TrimSpace(string(text)), err
}

type reader struct {
	lookup func(string) string
	err    error
}

func (r *reader) text(name, otherwise string) string {
	if value := strings.TrimSpace(r.lookup(name)); value != "" {
		return value
	}
	return otherwise
}

func (r *reader) number(name string, otherwise, least int64) int64 {
	text := r.text(name, "")
	if text == "" {
		return otherwise
	}
	number, err := strconv.ParseInt(text, 10, 64)
	// Larger ones would overflow a duration; nobody means three centuries.
	if err != nil || number < least || number > 1<<33 {
		r.err = event.Usage("give a whole number in .env", "%s is %q, not a number of at least %d", name, text, least)
		return otherwise
	}
	return number
}
