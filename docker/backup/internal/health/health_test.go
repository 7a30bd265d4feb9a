package health

import (
	"os"
	"testing"
	"time"

	"wepp.example/backup/internal/texttest"
	"wepp.example/backup/internal/vault"
)

var noon = time.Date(2026, 3, 29, 12, 0, 0, 0, time.UTC)

const (
	interval      = 24 * time.Hour
	drillInterval = 4 * interval
)

func folder(t *testing.T, ages ...time.Duration) vault.Vault {
	t.Helper()
	t.Setenv("TMPDIR", t.TempDir())
	v := vault.Vault{Folder: t.TempDir(), Database: "wepppy"}
	for _, age := range ages {
		name := vault.Name("wepppy", noon.Add(-age))
		for _, suffix := range []string{"", vault.ChecksumSuffix} {
			if err := os.WriteFile(v.Path(name)+suffix, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := vault.WriteManifest(v.Path(name), vault.Manifest{Format: vault.Format, Created: noon.Add(-age)}); err != nil {
			t.Fatal(err)
		}
	}
	return v
}

func look(t *testing.T, v vault.Vault, want bool, words ...string) {
	t.Helper()
	text, ok := Look(v, interval, drillInterval, noon)
	if ok != want {
		t.Errorf("ok is %v: %s", ok, text)
	}
	texttest.Holds(t, text, words...)
}

func TestHealthTurnsAtTheExactAge(t *testing.T) {
	limit := interval + interval/4
	look(t, folder(t, limit-time.Second), true)
	look(t, folder(t, limit), true, "1 d 6 h old")
	look(t, folder(t, limit+time.Second), false, "wepppy-20260328-055959.dump", "more than the 1 d 6 h allowed")
	look(t, folder(t, limit+time.Second, time.Minute), true)
}

func TestNoVerifiedBackupIsNotWell(t *testing.T) {
	v := folder(t)
	look(t, v, false, "no verified backup yet")
	if err := os.WriteFile(v.Path("wepppy-20260329-110000.dump"), []byte("cut"), 0o600); err != nil {
		t.Fatal(err)
	}
	look(t, v, false, "no verified backup yet")
}

func TestAFolderThatIsGoneIsNotWell(t *testing.T) {
	look(t, vault.Vault{Folder: t.TempDir() + "/none", Database: "wepppy"}, false, "cannot be used")
}

func TestOneFromTheFutureIsNotWell(t *testing.T) {
	look(t, folder(t, -time.Hour), false, "from the future")
	look(t, folder(t, -time.Hour, time.Hour), true, "1 h 0 min old")
}

func attempt(t *testing.T, v vault.Vault, tried vault.Attempt) vault.Vault {
	t.Helper()
	if err := v.WriteAttempt(tried); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestAFailedTryIsNotWellUntilABackupAfterIt(t *testing.T) {
	failed := vault.Attempt{Started: noon.Add(-3 * time.Minute), Ended: noon.Add(-2 * time.Minute), Problem: "the disk is full"}
	look(t, attempt(t, folder(t, time.Hour), failed), false, "failed 2 min 0 s ago: the disk is full", "1 h 0 min old")
	look(t, attempt(t, folder(t), failed), false, "the disk is full", "no verified backup yet")
	look(t, attempt(t, folder(t, time.Minute), failed), true)
}

func TestAFirstBackupThatTakesLongLetsTheStackStart(t *testing.T) {
	look(t, attempt(t, folder(t), vault.Attempt{Started: noon.Add(-firstPatience)}), false)
	look(t, attempt(t, folder(t), vault.Attempt{Started: noon.Add(-firstPatience - time.Second)}), true, "is being made since 1 min 1 s")
	look(t, attempt(t, folder(t, 48*time.Hour), vault.Attempt{Started: noon.Add(-time.Hour)}), false, "2 d 0 h old")
}

func TestAFailedTestRestoreIsNotWellUntilOneSucceeds(t *testing.T) {
	v := folder(t, time.Hour)
	last := vault.LastDrill{Name: "wepppy-20260329-110000.dump", Drill: vault.Drill{Drilled: noon.Add(-time.Minute), Problem: "public.t has 1 rows instead of 2"}}
	if err := v.WriteLastDrill(last); err != nil {
		t.Fatal(err)
	}
	look(t, v, false, "1 rows instead of 2", last.Name)
	last.OK = true
	if err := v.WriteLastDrill(last); err != nil {
		t.Fatal(err)
	}
	look(t, v, true)
}

func TestATestRestoreThatIsTriedIsNotWellAfterTheExactQuarter(t *testing.T) {
	tried := func(since time.Duration, held time.Duration) vault.Vault {
		v := folder(t, time.Hour)
		if err := v.WriteDrillTry(vault.DrillTry{Since: noon.Add(-since), Problem: "the server's disk is too small"}); err != nil {
			t.Fatal(err)
		}
		if held > 0 {
			last := vault.LastDrill{Drill: vault.Drill{Drilled: noon.Add(-held), OK: true}}
			if err := v.WriteLastDrill(last); err != nil {
				t.Fatal(err)
			}
		}
		return v
	}
	look(t, tried(drillInterval/4, 0), true)
	look(t, tried(drillInterval/4+time.Second, 0), false, "no test restore could be held for 1 d 0 h (one is due every 4 d 0 h): the server's disk is too small", "1 h 0 min old")
	look(t, tried(2*drillInterval, drillInterval), true)
	look(t, tried(drillInterval, 2*drillInterval), false)
	if text, ok := Look(tried(drillInterval, 0), interval, 0, noon); !ok {
		t.Errorf("none is wanted: %s", text)
	}
	if text, ok := Look(tried(firstPatience, 0), interval, time.Second, noon); !ok {
		t.Errorf("a short interval leaves a minute: %s", text)
	}
}
