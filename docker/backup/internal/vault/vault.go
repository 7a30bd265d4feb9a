package vault

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"wepp.example/backup/internal/event"
)

// Vault is the folder of the backups of one database.
type Vault struct {
	Folder   string
	Database string
}

// Entry is one dump in the folder.
type Entry struct {
	Name     string    `json:"name"`
	Path     string    `json:"path"`
	Created  time.Time `json:"created"`
	Bytes    int64     `json:"bytes"`
	Manual   bool      `json:"manual"`   // made by hand with the operators' command
	Ours     bool      `json:"ours"`     // made by this program; neither: somebody else's file, left alone
	Verified bool      `json:"verified"` // checksum and manifest are there and fit
	Manifest *Manifest `json:"manifest,omitempty"`
	Drill    *Drill    `json:"drill,omitempty"`
}

// Path of a name in the folder.
func (v Vault) Path(name string) string { return filepath.Join(v.Folder, name) }

// DumpMode is the mode of a dump's file. In a folder that is closed to everybody else it is readable for the user of the
// database's container, who has to read it there when the operators copy it in and restore it by hand.
func (v Vault) DumpMode() (fs.FileMode, error) {
	folder, err := os.Stat(v.Folder)
	if err != nil {
		return 0, Unusable(v.Folder, err)
	}
	if folder.Mode().Perm()&0o077 == 0 {
		return 0o644, nil
	}
	return 0o600, nil
}

// List is every dump in the folder, the newest first. Refuses when the folder cannot be read.
func (v Vault) List() ([]Entry, error) {
	files, err := os.ReadDir(v.Folder)
	if err != nil {
		return nil, Unusable(v.Folder, err)
	}
	var entries []Entry
	for _, file := range files {
		name := file.Name()
		if strings.HasPrefix(name, ".") || !strings.HasSuffix(name, Extension) {
			continue
		}
		status, err := os.Stat(v.Path(name))
		if err != nil {
			continue // removed meanwhile
		}
		entries = append(entries, v.entry(name, status))
	}
	sort.SliceStable(entries, func(i, j int) bool {
		if !entries[i].Created.Equal(entries[j].Created) {
			return entries[i].Created.After(entries[j].Created)
		}
		return entries[i].Name > entries[j].Name
	})
	return entries, nil
}

func (v Vault) entry(name string, status fs.FileInfo) Entry {
	entry := Entry{Name: name, Path: v.Path(name), Created: status.ModTime().UTC(), Bytes: status.Size()}
	var at time.Time
	if at, entry.Ours, entry.Manual = parse(v.Database, name); entry.Ours {
		entry.Created = at
	}
	if manifest, err := ReadManifest(entry.Path); err == nil {
		entry.Manifest = &manifest
		_, missing := os.Stat(entry.Path + ChecksumSuffix)
		// The size is compared, too: it costs nothing and shows a dump that was cut after it was verified.
		entry.Verified = missing == nil && status.Mode().IsRegular() && manifest.Bytes == status.Size()
		if entry.Ours {
			entry.Created = manifest.Created.UTC()
		}
	}
	if drill, err := ReadDrill(entry.Path); err == nil {
		entry.Drill = &drill
	}
	return entry
}

// ahead is how much later than now a backup may be before its moment is not believed: clocks are set by seconds, or wrong.
const ahead = time.Minute

// Newest is the newest verified backup that this program made of its database, and whether there is one. Backups from
// the future, of a clock that ran ahead and was set back, come after all others: one of them must not pass for the
// newest until that day has come.
func Newest(entries []Entry, now time.Time) (Entry, bool) {
	var future *Entry
	for i := range entries {
		switch each := &entries[i]; {
		case !each.Verified || !each.Ours:
		case each.Created.After(now.Add(ahead)):
			future = each // the last of them is the nearest
		default:
			return *each, true
		}
	}
	if future != nil {
		return *future, true
	}
	return Entry{}, false
}

// Empty is true for a verified backup of a database that held nothing: no table, no view, no large object.
func (e Entry) Empty() bool {
	return e.Manifest != nil && len(e.Manifest.Tables) == 0 && len(e.Manifest.Views) == 0 && e.Manifest.LargeObjects == 0
}

// FromTheFuture is true for a backup whose moment lies after now.
func (e Entry) FromTheFuture(now time.Time) bool { return e.Created.After(now.Add(ahead)) }

// Sweep removes what runs that were killed left behind: files in the making, and companions without their dump. Only
// call it holding the lock.
func (v Vault) Sweep() ([]string, error) {
	files, err := os.ReadDir(v.Folder)
	if err != nil {
		return nil, Unusable(v.Folder, err)
	}
	var removed []string
	for _, file := range files {
		name := file.Name()
		if !v.isLeftover(name) {
			continue
		}
		if err := os.Remove(v.Path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return removed, Unusable(v.Folder, err)
		}
		removed = append(removed, name)
	}
	return removed, nil
}

func (v Vault) isLeftover(name string) bool {
	if strings.HasPrefix(name, ".") {
		return strings.HasPrefix(name, "."+safe(v.Database)+"-") && strings.HasSuffix(name, ".partial")
	}
	for _, suffix := range companions {
		dump, found := strings.CutSuffix(name, suffix)
		if !found {
			continue
		}
		if _, ours, _ := parse(v.Database, dump); !ours {
			continue
		}
		_, err := os.Stat(v.Path(dump))
		return errors.Is(err, fs.ErrNotExist)
	}
	return false
}

// Partial is the name under which a dump is in the making.
func (v Vault) Partial(name string) string { return v.Path("." + name + ".partial") }

// Remove takes a dump away, the dump first: companions alone are swept, a dump alone would look unverified.
func (v Vault) Remove(name string) error {
	for _, suffix := range append([]string{""}, companions...) {
		if err := os.Remove(v.Path(name) + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return Unusable(v.Folder, err)
		}
	}
	return SyncFolder(v.Folder)
}

// Unusable says why the folder of backups cannot be used, and what to do about it.
func Unusable(folder string, err error) error {
	why := err
	var inner *fs.PathError
	if errors.As(err, &inner) {
		why = inner.Err
	}
	mend := "see that the folder is there and belongs to the user in .env (UID, GID)"
	if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
		mend = "see whether its disk is well, has room and is mounted for writing"
	}
	return event.Refuse(mend, "the folder of backups %s cannot be used: %s", folder, why)
}
