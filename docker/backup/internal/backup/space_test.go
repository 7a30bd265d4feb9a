package backup

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"wepp.example/backup/internal/drill"
	"wepp.example/backup/internal/event"
	"wepp.example/backup/internal/postgres"
	"wepp.example/backup/internal/servertest"
	"wepp.example/backup/internal/vault"
)

func TestABackupThatTheDiskHasNoRoomForIsRefusedBeforeItBegins(t *testing.T) {
	m := filled(t)
	m.Free = func(string) (int64, error) { return 10 << 20, nil }
	_, err := m.Make(context.Background())
	told(t, err, event.ExitRefused, "10 MB free", "earlier ones are as they were")
	if found := files(t, m); found != nil {
		t.Fatalf("%q", found)
	}
}

func TestADiskThatBecomesFullLeavesNothingOfTheBackupAndTheEarlierOnes(t *testing.T) {
	m := filled(t)
	earlier := backedUp(t, m)
	before := files(t, m)
	servertest.Do(t, m.Server, "wepppy", "INSERT INTO public.run SELECT g, string_agg(md5(random()::text), '') FROM generate_series(2000, 20000) g, generate_series(1, 40) GROUP BY g")
	full(t)
	_, err := m.Make(context.Background())
	told(t, err, event.ExitFailed, "is full", "earlier ones are as they were")
	if found := files(t, m); !slices.Equal(found, before) {
		t.Fatalf("%q", found)
	}
	if outcome, err := drill.Run(context.Background(), m.Server, "wepppy", earlier.Path, m.Report); err != nil || !outcome.OK {
		t.Fatalf("%+v %v", outcome, err)
	}
}

// full puts a pg_dump before the real one that writes to a device that is always full.
func full(t *testing.T) {
	t.Helper()
	real, err := exec.LookPath("pg_dump")
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	script := `#!/bin/bash
file=
for each in "$@"; do [[ $each == --file=* ]] && file=${each#--file=}; done
[ -n "$file" ] || exec ` + real + ` "$@"
` + real + ` "${@/--file=*/--file=/dev/full}"
`
	if err := os.WriteFile(filepath.Join(folder, "pg_dump"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", folder+":"+os.Getenv("PATH"))
}

func TestTheSizeOfADumpIsFoundedOnTheLastOne(t *testing.T) {
	m := maker(t, postgres.Server{})
	if m.expected(1<<30) != 0 {
		t.Fatal("there was none")
	}
	name := vault.Name("wepppy", noon)
	for suffix, content := range map[string]string{"": strings.Repeat("x", 1000), vault.ChecksumSuffix: ""} {
		if err := os.WriteFile(m.Vault.Path(name)+suffix, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := vault.WriteManifest(m.Vault.Path(name), vault.Manifest{Format: vault.Format, Created: noon, Bytes: 1000, DatabaseBytes: 10000}); err != nil {
		t.Fatal(err)
	}
	if got := m.expected(1 << 30); got != 1<<30/10 {
		t.Fatal(got)
	}
	m.Free = func(string) (int64, error) { return reserve + 120, nil }
	told(t, m.refuseFull(1000), event.ExitRefused, "free")
	m.Free = func(string) (int64, error) { return reserve + 130, nil }
	if err := m.refuseFull(1000); err != nil {
		t.Fatal(err)
	}
}
