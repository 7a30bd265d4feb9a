package archive

import (
	"wepp.example/backup/internal/event"
)

const (
	customMagic = "PGDMP"
	// plainTitle is the comment that pg_dump puts at the top of plain SQL, and plainEnd the one at its very end.
	plainTitle = "-- PostgreSQL database dump"
	plainEnd   = "-- PostgreSQL database dump complete"
	// Archive versions (PostgreSQL's pg_backup_archiver.h): 1.14 is written by majors 12 to 15, 1.15 by 16, 1.16 by 17
	// and 18. Older ones are of majors that nobody maintains.
	oldestArchive, newestArchive = 1<<8 | 14, 1<<8 | 16
	headerBytes                  = 11
)

// checkHeader refuses an archive whose version our pg_restore does not read. The layout is that of
// pg_backup_archiver.c, ReadHead: five letters, then major, minor and revision, one byte each.
func checkHeader(path string, head []byte) error {
	if len(head) < headerBytes {
		return damaged(path, "it ends inside its header")
	}
	version := int(head[5])<<8 | int(head[6])
	switch {
	case head[5] != 1:
		return damaged(path, "its header names a version that does not exist")
	case version > newestArchive:
		return event.Refuse("restore it with a stack whose POSTGRES_IMAGE is of that newer major, or dump again with an older pg_dump",
			"%s is an archive of version %d.%d, written by a newer pg_dump; this one reads up to 1.16", path, head[5], head[6])
	case version < oldestArchive:
		return event.Refuse("load it into a server of its time and dump it again from there with a current pg_dump",
			"%s is an archive of version %d.%d, older than PostgreSQL 12", path, head[5], head[6])
	}
	return nil
}
