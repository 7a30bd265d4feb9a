package vault

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"wepp.example/backup/internal/census"
)

// Format of the manifests that this program writes.
const Format = 1

// Manifest says what a dump holds, counted in the snapshot that it was made of.
type Manifest struct {
	Format        int               `json:"format"`
	Name          string            `json:"name"`
	Database      string            `json:"database"`
	Created       time.Time         `json:"created"` // of the snapshot, UTC
	Seconds       float64           `json:"seconds"`
	Bytes         int64             `json:"bytes"`
	DatabaseBytes int64             `json:"database_bytes"`
	ServerVersion string            `json:"server_version"`
	ClientVersion string            `json:"client_version"`
	SHA256        string            `json:"sha256"`
	Revision      string            `json:"revision"` // of the schema (alembic), "" where there is none
	Extensions    map[string]string `json:"extensions"`
	Roles         []string          `json:"roles"` // that own something, or hold a grant
	Rows          int64             `json:"rows"`
	Tables        map[string]int64  `json:"tables"`
	Views         map[string]int64  `json:"views"`
	LargeObjects  int64             `json:"large_objects"`
}

// Counts are the rows that the dump holds.
func (m Manifest) Counts() census.Counts {
	return census.Counts{Tables: m.Tables, Views: m.Views, LargeObjects: m.LargeObjects}
}

// Drill is the outcome of a test restore.
type Drill struct {
	Drilled       time.Time `json:"drilled"`
	OK            bool      `json:"ok"`
	Seconds       float64   `json:"seconds"`
	Rows          int64     `json:"rows"`
	ServerVersion string    `json:"server_version"`
	Problem       string    `json:"problem"` // "" when all was equal
}

// ReadManifest reads the manifest beside a dump, anywhere on disk. os.ErrNotExist when there is none.
func ReadManifest(dump string) (Manifest, error) {
	var manifest Manifest
	if err := readJSON(dump+ManifestSuffix, &manifest); err != nil {
		return manifest, err
	}
	if manifest.Format != Format {
		return manifest, fmt.Errorf("%s is of format %d, this program reads %d", dump+ManifestSuffix, manifest.Format, Format)
	}
	return manifest, nil
}

// WriteManifest leaves the manifest beside a dump.
func WriteManifest(dump string, manifest Manifest) error {
	return writeJSON(dump+ManifestSuffix, manifest)
}

// ReadDrill reads the outcome of a dump's last test restore. os.ErrNotExist when there was none.
func ReadDrill(dump string) (Drill, error) {
	var drill Drill
	return drill, readJSON(dump+DrilledSuffix, &drill)
}

// WriteDrill leaves the outcome of a test restore beside the dump.
func WriteDrill(dump string, drill Drill) error { return writeJSON(dump+DrilledSuffix, drill) }

func readJSON(path string, into any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%s is not what was written there: %w", path, err)
	}
	return nil
}

func writeJSON(path string, content any) error {
	text, err := json.MarshalIndent(content, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding %s: %w", filepath.Base(path), err)
	}
	return WriteFile(path, append(text, '\n'))
}

// WriteFile writes a file under another name, syncs it, and renames it: there is never half of it.
func WriteFile(path string, content []byte) error {
	folder, name := filepath.Split(path)
	partial := filepath.Join(folder, "."+name+".partial")
	file, err := os.OpenFile(partial, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err == nil {
		err = file.Sync()
	}
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(partial, path)
	}
	if err != nil {
		os.Remove(partial) //nolint:errcheck // the first error counts
		return err
	}
	return SyncFolder(folder)
}

// Sync makes a file's contents survive a power cut.
func Sync(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // read only
	return file.Sync()
}

// SyncFolder makes the names in a folder survive a power cut.
func SyncFolder(folder string) error { return Sync(filepath.Clean(folder)) }
