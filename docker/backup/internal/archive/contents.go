package archive

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// The table of contents of a directory dump, as pg_backup_archiver.c writes it since major 17 (archive version 1.16,
// WriteHead and WriteToc): integers are a byte of sign and then bytes from the lowest on, texts have their length
// before them, -1 for none.

const contentsVersion = 1<<8 | 16

type entry struct {
	number    int
	kind      string
	copy      string // the statement before the rows
	copyStart int    // where it begins, its length included
	copyEnd   int
	first     string // of what it depends on; of rows, their table
}

// Freeze has the tables of a directory dump loaded frozen: no later reader of theirs, be it the building of an index,
// has to note in each row that it is there, which with checksums sends every page through the log and to disk again. It
// changes the statements in the dump's table of contents, so the dump has to be the caller's own, and it is only for a
// pg_restore with several jobs and all sections: that one empties each table that it has made before it fills it, which
// COPY FREEZE demands. A table of contents that it does not understand to the last byte is left as it is.
func Freeze(folder string) error {
	path := filepath.Join(folder, "toc.dat")
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	frozen, found := frozen(data)
	if !found {
		return nil
	}
	if err := os.WriteFile(path+".frozen", frozen, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".frozen", path)
}

func frozen(data []byte) ([]byte, bool) {
	entries, understood := contents(data)
	if !understood {
		return nil, false
	}
	made := map[string]bool{}
	for _, each := range entries {
		made[strconv.Itoa(each.number)] = each.kind == "TABLE"
	}
	const end = " FROM stdin;\n"
	var changed []byte
	done := 0
	for _, each := range entries {
		// Rows of an extension's table come without the table.
		if each.kind != "TABLE DATA" || !made[each.first] || !strings.HasPrefix(each.copy, "COPY ") || !strings.HasSuffix(each.copy, end) {
			continue
		}
		statement := strings.TrimSuffix(each.copy, ";\n") + " WITH (FREEZE);\n"
		changed = append(changed, data[done:each.copyStart]...)
		changed = append(changed, 0)
		changed = binary.LittleEndian.AppendUint32(changed, uint32(len(statement)))
		changed = append(changed, statement...)
		done = each.copyEnd
	}
	return append(changed, data[done:]...), done > 0
}

// contents reads all entries; false when there is anything it does not expect.
func contents(data []byte) ([]entry, bool) {
	in := &taker{data: data, at: len(customMagic)}
	if !bytes.HasPrefix(data, []byte(customMagic)) || in.bytes(3) == nil {
		return nil, false
	}
	if int(data[5])<<8|int(data[6]) != contentsVersion {
		return nil, false
	}
	sizes := in.bytes(4) // of an integer, of an offset; the format; the compression
	// Folders have the number of tar, whose members have the same names.
	const tarFormat = 3
	if sizes == nil || sizes[0] != 4 || sizes[2] != tarFormat {
		return nil, false
	}
	const partsOfTime = 7
	for range partsOfTime {
		in.integer()
	}
	in.text() // database
	in.text() // version of the server
	in.text() // version of pg_dump
	count := in.integer()
	var entries []entry
	for number := 0; number < count && !in.wrong; number++ {
		var one entry
		one.number = in.integer()
		in.integer() // has data
		in.text()    // number of the catalogue
		in.text()    // number in it
		in.text()    // name
		one.kind = in.text()
		in.integer() // section
		in.text()    // definition
		in.text()    // how it is dropped
		one.copyStart = in.at
		one.copy = in.text()
		one.copyEnd = in.at
		in.text()    // schema
		in.text()    // tablespace
		in.text()    // access method
		in.integer() // relkind
		in.text()    // owner
		in.text()    // with OIDs
		one.first = in.text()
		for !in.missing && !in.wrong {
			in.text()
		}
		in.text() // file
		entries = append(entries, one)
	}
	return entries, !in.wrong && in.at == len(data)
}

// taker takes the data apart. wrong: it was not what was asked for. missing: the last text was none.
type taker struct {
	data    []byte
	at      int
	wrong   bool
	missing bool
}

func (r *taker) bytes(count int) []byte {
	if r.wrong || count < 0 || count > len(r.data)-r.at {
		r.wrong = true
		return nil
	}
	r.at += count
	return r.data[r.at-count : r.at]
}

func (r *taker) integer() int {
	const size = 5
	found := r.bytes(size)
	if found == nil {
		return 0
	}
	value := int(binary.LittleEndian.Uint32(found[1:]))
	if found[0] != 0 {
		return -value
	}
	return value
}

func (r *taker) text() string {
	length := r.integer()
	r.missing = length < 0
	if r.missing {
		return ""
	}
	return string(r.bytes(length))
}
