package backup

import (
	"fmt"
	"syscall"

	"wepp.example/backup/internal/event"
	"wepp.example/backup/internal/vault"
)

const (
	// share of a database's size that its dump takes where no earlier one tells: text packs about six to one and indexes
	// are not dumped; a database full of pictures is refused wrongly once, and then never again, at half its size.
	share = 0.5
	// spare is what a dump may grow beyond the last one's share, and reserve what must stay free besides.
	spare   = 1.25
	reserve = 32 << 20
)

// FreeBytes that may be written into a folder.
func FreeBytes(folder string) (int64, error) {
	var stat syscall.Statfs_t
	if err := syscall.Statfs(folder, &stat); err != nil {
		return 0, fmt.Errorf("asking for free space in %s: %w", folder, err)
	}
	return int64(stat.Bavail) * stat.Bsize, nil //nolint:gosec // no disk has 2^63 blocks
}

// expected size of the dump, from the newest one's share of its database; 0 where there is none yet.
func (m Maker) expected(databaseBytes int64) int64 {
	entries, err := m.Vault.List()
	if err != nil {
		return 0
	}
	newest, found := vault.Newest(entries, m.Now())
	if !found || newest.Manifest.DatabaseBytes <= 0 {
		return 0
	}
	return int64(float64(newest.Bytes) / float64(newest.Manifest.DatabaseBytes) * float64(databaseBytes))
}

// refuseFull refuses a backup that the disk has no room for, before it fills the disk for everybody.
func (m Maker) refuseFull(databaseBytes int64) error {
	free, err := m.Free(m.Vault.Folder)
	if err != nil {
		return err
	}
	needed := int64(spare*float64(m.expected(databaseBytes))) + reserve
	if needed == reserve {
		// An empty cluster has 7 MB of catalogues, which no dump holds.
		needed += int64(share * float64(max(0, databaseBytes-8<<20)))
	}
	if free < needed {
		return event.Refuse("make room there, or set BACKUP_KEEP_DAYS lower",
			"the disk of the backups (%s) has %d MB free and this one may take %d MB; the earlier ones are as they were",
			m.Vault.Folder, free/1e6, needed/1e6)
	}
	return nil
}
