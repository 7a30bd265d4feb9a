package settings

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func read(t *testing.T, variables map[string]string) Settings {
	t.Helper()
	settings, err := Read(func(name string) string { return variables[name] })
	if err != nil {
		t.Fatal(err)
	}
	return settings
}

func TestTheHooksAddressComesFromItsFileFirst(t *testing.T) {
	file := filepath.Join(t.TempDir(), "backup_hook_url")
	if err := os.WriteFile(file, []byte("https://watcher.example/token\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, variables := range map[string]map[string]string{
		"":                              {},
		"https://watcher.example/other": {"BACKUP_HOOK_URL": "https://watcher.example/other"},
		"https://watcher.example/token": {"BACKUP_HOOK_URL": "https://watcher.example/other", "BACKUP_HOOK_URL_FILE": file},
	} {
		settings := read(t, variables)
		if address, err := settings.Hook(); err != nil || address != want {
			t.Errorf("%q, %v for %v", address, err, variables)
		}
		if shown := fmt.Sprintf("%+v", settings); strings.Contains(shown, "/token") {
			t.Errorf("the settings show what the file holds: %s", shown)
		}
	}
	if address, err := read(t, map[string]string{"BACKUP_HOOK_URL_FILE": file + ".gone"}).Hook(); err == nil || address != "" {
		t.Errorf("%q, %v for a file that is gone", address, err)
	}
}
