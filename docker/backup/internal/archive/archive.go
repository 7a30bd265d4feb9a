// Package archive owns what a dump is before anything is done with it: of which kind, from which server, what it needs,
// and whether every byte of it can be read. It only reads.
package archive

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"wepp.example/backup/internal/event"
	"wepp.example/backup/internal/vault"
)

// Kind is the form of a dump.
type Kind string

// The forms that pg_dump writes.
const (
	Custom    Kind = "custom"    // pg_dump -Fc: one file that begins with PGDMP
	Directory Kind = "directory" // pg_dump -Fd: a folder with toc.dat
	Tar       Kind = "tar"       // pg_dump -Ft
	Plain     Kind = "plain"     // SQL for psql, perhaps compressed
)

// Archive is one dump on disk.
type Archive struct {
	Path        string
	Kind        Kind
	Compression string // of a plain dump: "", gzip, zstd or bzip2
	Bytes       int64  // on disk
	Checksummed bool   // its checksum lies beside it, in a file of that name or in its manifest

	manifestSum string // of a dump whose checksum file was left behind where it was copied from
}

// tarMagicAt is where POSIX tar headers carry `ustar` (POSIX.1-1988); pg_dump's have it.
const tarMagicAt = 257

// Open looks at a dump. Refuses what is none, with the reason.
func Open(path string) (Archive, error) {
	found := Archive{Path: path}
	status, err := os.Stat(path)
	if err != nil {
		return found, unreadable(path, err)
	}
	_, missing := os.Stat(path + vault.ChecksumSuffix)
	if missing != nil && !status.IsDir() {
		found.manifestSum = sumInManifest(path)
	}
	found.Checksummed = missing == nil || found.manifestSum != ""
	if status.IsDir() {
		return openDirectory(found)
	}
	if !status.Mode().IsRegular() {
		return found, event.Refuse("name a file or a folder that pg_dump wrote", "%s is neither a file nor a folder", path)
	}
	found.Bytes = status.Size()
	if found.Bytes == 0 {
		return found, event.Refuse("choose another dump: `invoke db-backups` lists them", "%s is empty", path)
	}
	file, err := os.Open(path)
	if err != nil {
		return found, unreadable(path, err)
	}
	defer file.Close() //nolint:errcheck // read only
	head := make([]byte, 512)
	count, err := io.ReadFull(file, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return found, unreadable(path, err)
	}
	return classify(found, head[:count])
}

// sumInManifest is the checksum of a dump that its manifest names, of whatever format; "" where there is no such manifest.
func sumInManifest(path string) string {
	var manifest struct {
		SHA256 string `json:"sha256"`
	}
	text, err := os.ReadFile(path + vault.ManifestSuffix)
	if err != nil || json.Unmarshal(text, &manifest) != nil || len(manifest.SHA256) != 2*sha256.Size {
		return ""
	}
	return manifest.SHA256
}

func classify(found Archive, head []byte) (Archive, error) {
	switch {
	case bytes.HasPrefix(head, []byte(customMagic)):
		found.Kind = Custom
		return found, checkHeader(found.Path, head)
	case len(head) >= tarMagicAt+5 && string(head[tarMagicAt:tarMagicAt+5]) == "ustar":
		found.Kind = Tar
		return found, nil
	}
	found.Kind = Plain
	for name, magic := range map[string]string{"gzip": "\x1f\x8b", "zstd": "\x28\xb5\x2f\xfd", "bzip2": "BZh"} {
		if bytes.HasPrefix(head, []byte(magic)) {
			found.Compression = name
		}
	}
	text, err := found.Text()
	if err != nil {
		return found, err
	}
	defer text.Close() //nolint:errcheck // read only
	start, err := bufio.NewReaderSize(text, 4096).Peek(1024)
	if err != nil && !errors.Is(err, io.EOF) {
		return found, damaged(found.Path, err.Error())
	}
	if !strings.Contains(string(start), plainTitle) {
		return found, event.Refuse("name a dump that pg_dump wrote (custom, directory or plain SQL)",
			"%s is not a dump of Postgres", found.Path)
	}
	return found, nil
}

func openDirectory(found Archive) (Archive, error) {
	found.Kind = Directory
	table, err := os.ReadFile(filepath.Join(found.Path, "toc.dat"))
	if errors.Is(err, fs.ErrNotExist) {
		return found, event.Refuse("name the dump itself", "%s is a folder without toc.dat, so no dump of Postgres", found.Path)
	}
	if err != nil {
		return found, unreadable(found.Path, err)
	}
	if !bytes.HasPrefix(table, []byte(customMagic)) {
		return found, damaged(found.Path, "its toc.dat does not begin as one")
	}
	if err := checkHeader(found.Path, table); err != nil {
		return found, err
	}
	found.Bytes, err = size(found.Path)
	return found, err
}

func size(folder string) (int64, error) {
	var total int64
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return unreadable(path, err)
		}
		status, err := entry.Info()
		if err != nil {
			return unreadable(path, err)
		}
		if status.Mode().IsRegular() {
			total += status.Size()
		}
		return nil
	})
	return total, err
}

func unreadable(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return event.Refuse("`invoke db-backups` lists the dumps there are", "there is no dump %s", path)
	case errors.Is(err, fs.ErrPermission):
		return event.Refuse("let its owner give you the right to read it: chmod, chown", "%s may not be read by you", path)
	}
	return event.Refuse("see whether its disk is well", "%s cannot be read: %s", path, reason(err))
}

func damaged(path, why string) error {
	return event.Refuse("choose another dump: `invoke db-backups` lists them", "%s is damaged: %s", path, why)
}

func reason(err error) string {
	var inner *fs.PathError
	if errors.As(err, &inner) {
		return inner.Err.Error()
	}
	return fmt.Sprint(err)
}
