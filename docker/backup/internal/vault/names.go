// Package vault owns the folder of backups: what its files are called, what lies beside a dump, which dumps there are,
// which may be removed.
//
//	NAME.dump               written whole before it got this name
//	NAME.dump.sha256        its checksum, as sha256sum writes it
//	NAME.dump.json          its manifest (Manifest)
//	NAME.dump.globals.sql   roles and settings of the whole server, with password hashes
//	NAME.dump.drilled       the last test restore of it (Drill)
//
// A dump is verified when its checksum and its manifest lie beside it; they are written first, the dump is renamed last.
// Names that begin with a dot are in the making, or left behind by a run that was killed.
package vault

import (
	"regexp"
	"strings"
	"time"
)

// Companions of a dump, by what is added to its name.
const (
	ChecksumSuffix = ".sha256"
	ManifestSuffix = ".json"
	GlobalsSuffix  = ".globals.sql"
	DrilledSuffix  = ".drilled"
)

// Extension of every dump.
const Extension = ".dump"

var companions = []string{ChecksumSuffix, ManifestSuffix, GlobalsSuffix, DrilledSuffix}

// stamp is the moment in a name, in UTC: a name means the same in summer and in winter.
const stamp = "20060102-150405"

var moment = regexp.MustCompile(`^\d{8}-\d{6}$`)

// Name of the dump of a database that begins at a moment.
func Name(database string, at time.Time) string {
	return safe(database) + "-" + at.UTC().Format(stamp) + Extension
}

// safe keeps a database's name from leaving the folder or hiding its file.
func safe(database string) string {
	return strings.TrimLeft(strings.NewReplacer("/", "_", "\x00", "_", "\n", "_").Replace(database), ".")
}

// parse is the moment in a dump's name, and whether the name is one that this program gives (`wepppy-YYYYMMDD-HHMMSS`)
// or that the operators' page gives to dumps by hand (`wepppy-manual-YYYYMMDD-HHMMSS`, whose moment is local time).
// Other people's names are neither.
func parse(database, name string) (at time.Time, ours, manual bool) {
	middle, found := strings.CutPrefix(name, safe(database)+"-")
	if !found {
		return at, false, false
	}
	if middle, found = strings.CutSuffix(middle, Extension); !found {
		return at, false, false
	}
	middle, manual = strings.CutPrefix(middle, "manual-")
	if !moment.MatchString(middle) {
		return at, false, false
	}
	at, err := time.ParseInLocation(stamp, middle, time.UTC)
	if err != nil {
		return time.Time{}, false, false
	}
	return at, !manual, manual
}
