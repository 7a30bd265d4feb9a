package vault

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"wepp.example/backup/internal/event"
)

const day = 24 * time.Hour

var noon = time.Date(2026, 3, 29, 12, 0, 0, 0, time.UTC)

// put lays a dump into the folder as a finished run leaves it; a name of ours with companions, any other without.
func put(t *testing.T, v Vault, name string, created time.Time, verified bool) {
	t.Helper()
	path := v.Path(name)
	for suffix, content := range map[string]string{"": "PGDMP", ChecksumSuffix: "sum", GlobalsSuffix: "-- roles"} {
		if suffix != "" && !verified {
			continue
		}
		if err := os.WriteFile(path+suffix, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if verified {
		if err := writeJSON(path+ManifestSuffix, Manifest{Format: Format, Name: name, Created: created, Bytes: 5}); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chtimes(path, created, created); err != nil {
		t.Fatal(err)
	}
}

func folder(t *testing.T) Vault {
	t.Helper()
	return Vault{Folder: t.TempDir(), Database: "wepppy"}
}

func names(t *testing.T, v Vault) []string {
	t.Helper()
	files, err := os.ReadDir(v.Folder)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, file := range files {
		found = append(found, file.Name())
	}
	return found
}

func dumps(t *testing.T, v Vault) []string {
	t.Helper()
	return slices.DeleteFunc(names(t, v), func(name string) bool { return !strings.HasSuffix(name, Extension) })
}

func TestNamesAreInUTCWhateverTheZoneOfTheClock(t *testing.T) {
	zone := time.FixedZone("summer", 2*3600)
	if name := Name("wepppy", noon.In(zone)); name != "wepppy-20260329-120000.dump" {
		t.Fatal(name)
	}
	if name := Name("../odd\nname", noon); strings.ContainsAny(name, "/\n") || strings.HasPrefix(name, ".") {
		t.Fatalf("%q leaves the folder or hides", name)
	}
}

func TestOnlyOurNamesAndThoseOfTheOperatorsPageAreKnown(t *testing.T) {
	for name, want := range map[string][2]bool{
		"wepppy-20260329-120000.dump":        {true, false},
		"wepppy-manual-20260329-120000.dump": {false, true},
		"wepppy-before-upgrade.dump":         {false, false},
		"wepppy-20260329-120000-keep.dump":   {false, false},
		"wepppy-20261329-120000.dump":        {false, false},
		"other-20260329-120000.dump":         {false, false},
		"wepppy2-20260329-120000.dump":       {false, false},
		"wepppy-20260329-120000.dump.json":   {false, false},
	} {
		if _, ours, manual := parse("wepppy", name); ours != want[0] || manual != want[1] {
			t.Errorf("%s: ours %v, manual %v", name, ours, manual)
		}
	}
}

func TestTheListIsNewestFirstAndTellsWhatIsVerified(t *testing.T) {
	v := folder(t)
	put(t, v, Name("wepppy", noon.Add(-day)), noon.Add(-day), true)
	put(t, v, Name("wepppy", noon), noon, true)
	put(t, v, "wepppy-manual-20260329-090000.dump", noon.Add(-3*time.Hour), false)
	put(t, v, ".wepppy-20260329-130000.dump.partial", noon, false)
	put(t, v, "notes.txt", noon, false)
	cut := Name("wepppy", noon.Add(time.Hour))
	put(t, v, cut, noon.Add(time.Hour), true)
	if err := os.Truncate(v.Path(cut), 4); err != nil {
		t.Fatal(err)
	}
	entries, err := v.List()
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, each := range entries {
		mark := ""
		if each.Verified {
			mark = "verified "
		}
		told = append(told, mark+each.Name)
	}
	want := []string{
		"wepppy-20260329-130000.dump", "verified wepppy-20260329-120000.dump",
		"wepppy-manual-20260329-090000.dump", "verified wepppy-20260328-120000.dump",
	}
	if !slices.Equal(told, want) {
		t.Fatalf("%q", told)
	}
}

func TestABackupOfAClockThatRanAheadIsNotTheNewestUntilItsDayComes(t *testing.T) {
	v := folder(t)
	future := noon.Add(30 * day)
	put(t, v, Name("wepppy", future), future, true)
	entries, _ := v.List()
	if newest, found := Newest(entries, noon); !found || !newest.FromTheFuture(noon) {
		t.Fatal("alone, it is better than none")
	}
	put(t, v, Name("wepppy", noon.Add(-time.Hour)), noon.Add(-time.Hour), true)
	entries, _ = v.List()
	if newest, _ := Newest(entries, noon); newest.FromTheFuture(noon) {
		t.Fatal("one from the future passed for the newest")
	}
	if newest, _ := Newest(entries, future.Add(time.Second)); !newest.Created.Equal(future) {
		t.Fatal("its day has come")
	}
}

func TestPruning(t *testing.T) {
	old, older, fresh := noon.Add(-8*day), noon.Add(-9*day), noon.Add(-time.Hour)
	for title, each := range map[string]struct {
		lay  func(t *testing.T, v Vault)
		keep time.Duration
		gone []string
	}{
		"takes what is older than the days to keep, and dumps by hand": {
			func(t *testing.T, v Vault) {
				put(t, v, Name("wepppy", older), older, true)
				put(t, v, Name("wepppy", old), old, false)
				put(t, v, "wepppy-manual-20260321-120000.dump", old, false)
				put(t, v, "wepppy-manual-20260329-110000.dump", fresh, false)
				put(t, v, Name("wepppy", fresh), fresh, true)
			}, 7 * day,
			[]string{"wepppy-20260320-120000.dump", "wepppy-20260321-120000.dump", "wepppy-manual-20260321-120000.dump"},
		},
		"keeps what is exactly as old as the days to keep": {
			func(t *testing.T, v Vault) {
				put(t, v, Name("wepppy", noon.Add(-7*day)), noon.Add(-7*day), true)
				put(t, v, Name("wepppy", noon.Add(-7*day-time.Second)), noon.Add(-7*day-time.Second), true)
				put(t, v, Name("wepppy", fresh), fresh, true)
			}, 7 * day, []string{"wepppy-20260322-115959.dump"},
		},
		"keeps the newest verified one however old": {
			func(t *testing.T, v Vault) {
				put(t, v, Name("wepppy", older), older, true)
				put(t, v, Name("wepppy", old), old, true)
				put(t, v, Name("wepppy", fresh), fresh, false) // never verified: it protects nothing
			}, 7 * day, []string{"wepppy-20260320-120000.dump"},
		},
		"takes nothing while nothing is verified": {
			func(t *testing.T, v Vault) {
				put(t, v, Name("wepppy", old), old, false)
				put(t, v, "wepppy-manual-20260321-120000.dump", old, false)
			}, 7 * day, nil,
		},
		"leaves other people's files alone": {
			func(t *testing.T, v Vault) {
				for _, name := range []string{"wepppy-before-upgrade.dump", "other-20200101-000000.dump", "wepppy-20200101-000000.sql"} {
					put(t, v, name, old, false)
				}
				put(t, v, Name("wepppy", fresh), fresh, true)
			}, 0, nil,
		},
		"with nothing to keep still keeps the newest": {
			func(t *testing.T, v Vault) {
				put(t, v, Name("wepppy", fresh), fresh, true)
				put(t, v, Name("wepppy", fresh.Add(time.Minute)), fresh.Add(time.Minute), true)
			}, 0, []string{"wepppy-20260329-110000.dump"},
		},
		"after the clock was set back takes nothing of the future": {
			func(t *testing.T, v Vault) {
				put(t, v, Name("wepppy", noon.Add(30*day)), noon.Add(30*day), true)
				put(t, v, Name("wepppy", fresh), fresh, true)
			}, 7 * day, nil,
		},
	} {
		t.Run(title, func(t *testing.T) {
			v := folder(t)
			each.lay(t, v)
			before := dumps(t, v)
			gone, err := v.Prune(noon, each.keep)
			if err != nil {
				t.Fatal(err)
			}
			slices.Sort(gone)
			if !slices.Equal(gone, each.gone) {
				t.Fatalf("gone: %q", gone)
			}
			left := slices.DeleteFunc(before, func(name string) bool { return slices.Contains(each.gone, name) })
			if !slices.Equal(dumps(t, v), left) {
				t.Fatalf("left: %q", dumps(t, v))
			}
			for _, name := range names(t, v) {
				for _, dump := range each.gone {
					if strings.HasPrefix(name, dump) {
						t.Errorf("%s was left behind", name)
					}
				}
			}
		})
	}
}

func TestADumpThatIsBeingReadIsPrunedTheNextTime(t *testing.T) {
	v, old := folder(t), noon.Add(-8*day)
	put(t, v, Name("wepppy", old), old, true)
	put(t, v, Name("wepppy", noon), noon, true)
	release := Hold(v.Path(Name("wepppy", old)))
	if gone, err := v.Prune(noon, day); err != nil || gone != nil {
		t.Fatal(gone, err)
	}
	release()
	if gone, err := v.Prune(noon, day); err != nil || len(gone) != 1 {
		t.Fatal(gone, err)
	}
}

func TestSweepingTakesWhatAKilledRunLeftAndNothingElse(t *testing.T) {
	v := folder(t)
	whole := Name("wepppy", noon)
	put(t, v, whole, noon, true)
	orphan := Name("wepppy", noon.Add(day))
	put(t, v, orphan, noon, true)
	if err := os.Remove(v.Path(orphan)); err != nil {
		t.Fatal(err)
	}
	put(t, v, ".wepppy-20260330-120000.dump.partial", noon, false)
	put(t, v, ".hidden", noon, false)
	put(t, v, "wepppy-notes.json", noon, false)
	if _, err := v.Sweep(); err != nil {
		t.Fatal(err)
	}
	want := []string{".hidden", whole, whole + GlobalsSuffix, whole + ManifestSuffix, whole + ChecksumSuffix, "wepppy-notes.json"}
	if left := names(t, v); !slices.Equal(left, want) {
		t.Fatalf("%q", left)
	}
}

func TestTheFolderHasOneWriterAtATimeAndSecondsAreTold(t *testing.T) {
	v := folder(t)
	release, err := v.Lock(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	if _, err := v.Lock(ctx, cancel); !errors.Is(err, context.Canceled) {
		t.Fatal("two writers", err)
	}
	release()
	release, err = v.Lock(context.Background(), func() { t.Fatal("nobody held it") })
	if err != nil {
		t.Fatal(err)
	}
	release()
}

func TestAFolderThatIsNotThereIsToldWithItsName(t *testing.T) {
	v := Vault{Folder: filepath.Join(t.TempDir(), "none"), Database: "wepppy"}
	if _, err := v.List(); err == nil || !strings.Contains(err.Error(), "none cannot be used: no such file") {
		t.Fatal(err)
	}
}

func TestAFolderWhoseDiskTakesNothingIsNotAMatterOfRights(t *testing.T) {
	for failure, words := range map[error]string{syscall.EROFS: "mounted for writing", syscall.EACCES: "belongs to the user"} {
		problem := event.ProblemOf(Unusable("/backups", &fs.PathError{Op: "open", Path: "/backups/x", Err: failure}))
		if !strings.Contains(problem.Mend, words) {
			t.Errorf("%v: %+v", failure, problem)
		}
	}
}
