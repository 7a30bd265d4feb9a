package scratch

import (
	"context"
	"strconv"
	"strings"

	"wepp.example/backup/internal/event"
	"wepp.example/backup/internal/postgres"
)

const (
	// growth is what a database takes beside its own size while it is loaded: sorting of indexes, the log.
	growth = 1.25
	// unpacked is how many bytes of database a byte of a compressed dump becomes, where no manifest tells: text packs
	// about six to one, and indexes add half as much again.
	unpacked = 8
	// BytesPerSecond that a load reaches on two cores, indexes included (measured: postgres facts, 77 MB/s and more).
	BytesPerSecond = 77_000_000
)

// Needed is how many bytes of disk a load will take. databaseBytes: the size it had where it was dumped, or 0.
func Needed(dumpBytes, databaseBytes int64, compressed bool) int64 {
	switch {
	case databaseBytes > 0:
		return int64(growth * float64(databaseBytes))
	case compressed:
		return unpacked * dumpBytes
	}
	return 2 * dumpBytes
}

// Free is how many bytes are free where the server keeps its databases, or -1 when it does not tell us: only the server
// sees its disk, and only a superuser may ask it.
func Free(ctx context.Context, lock *Lock) int64 {
	var folder string
	if lock.Session.QueryRow(ctx, "select current_setting('data_directory')").Scan(&folder) != nil {
		return -1
	}
	quoted := "'" + strings.ReplaceAll(folder, "'", `'\''`) + "'"
	for _, statement := range []string{
		"create temp table if not exists free_bytes (line text)",
		"truncate pg_temp.free_bytes",
		"copy pg_temp.free_bytes from program " + postgres.Literal("df --block-size=1 --output=avail -- "+quoted),
	} {
		if _, err := lock.Session.Exec(ctx, statement); err != nil {
			return -1
		}
	}
	lines, err := postgres.Strings(ctx, lock.Session, "select line from pg_temp.free_bytes")
	if err != nil || len(lines) == 0 {
		return -1
	}
	free, err := strconv.ParseInt(strings.TrimSpace(lines[len(lines)-1]), 10, 64)
	if err != nil {
		return -1
	}
	return free
}

// RefuseFull refuses a load that the server's disk has no room for.
func RefuseFull(free, needed int64) error {
	if free < 0 || free >= needed {
		return nil
	}
	return event.Refuse("make room there (`invoke db-prune` drops databases kept by earlier restores), or say --force if you know better",
		"the server's disk has %d MB free and the load takes about %d MB", free/1e6, needed/1e6)
}
