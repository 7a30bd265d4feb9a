package backup

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"wepp.example/backup/internal/census"
)

const (
	copyPrefix = "COPY "
	copySuffix = " FROM stdin;\n"
	// window is how much SQL is looked at in one go; a table's heading is far shorter (1,600 columns of 63 bytes).
	window = 1 << 20
)

var (
	// rowsEnd closes the rows of a table; in the rows themselves a backslash at the start of a line is doubled.
	rowsEnd = []byte("\\.\n")
	newline = []byte("\n")
	closing = []byte("\n\\.\n")
)

// countRows counts the rows by table in the data of a dump as SQL, to its end.
func countRows(text io.Reader, window int) (map[string]int64, error) {
	found := map[string]int64{}
	sql := &rowCounter{text: text, space: make([]byte, window)}
	for {
		line, err := sql.line()
		if err == io.EOF {
			return found, nil
		}
		if err != nil {
			return found, fmt.Errorf("reading the dump: %w", err)
		}
		if strings.HasPrefix(line, copyPrefix) && strings.HasSuffix(line, copySuffix) {
			rows, err := sql.rows()
			if err != nil {
				return found, err
			}
			found[tableOf(line)] += rows
		}
	}
}

// rowCounter looks at SQL through a window: rows are most of a dump, and they are counted without being cut into lines.
type rowCounter struct {
	text   io.Reader
	space  []byte
	buffer []byte // the part of space that was read and not yet passed over
}

// more reads on behind what is left. io.EOF when there is no more.
func (c *rowCounter) more() error {
	kept := copy(c.space, c.buffer)
	count, err := c.text.Read(c.space[kept:])
	c.buffer = c.space[:kept+count]
	if count > 0 {
		return nil
	}
	return err
}

// pass takes the front off the window; valid until more is read.
func (c *rowCounter) pass(count int) []byte {
	passed := c.buffer[:count]
	c.buffer = c.buffer[count:]
	return passed
}

// line is the next line with its end; of one longer than the window, the last part.
func (c *rowCounter) line() (string, error) {
	for {
		if end := bytes.IndexByte(c.buffer, '\n'); end >= 0 {
			return string(c.pass(end + 1)), nil
		}
		if len(c.buffer) == len(c.space) {
			c.pass(len(c.buffer))
		}
		if err := c.more(); err != nil {
			return "", err
		}
	}
}

// rows counts lines up to the one that closes a table's rows, and passes over that one.
func (c *rowCounter) rows() (int64, error) {
	var rows int64
	for fresh := true; ; { // fresh: the window begins with a line
		if fresh && bytes.HasPrefix(c.buffer, rowsEnd) {
			c.pass(len(rowsEnd))
			return rows, nil
		}
		if end := bytes.Index(c.buffer, closing); end >= 0 {
			rows += int64(bytes.Count(c.pass(end+1), newline))
			c.pass(len(rowsEnd))
			return rows, nil
		}
		// What may be the start of the closing line stays in the window.
		passed := c.pass(len(c.buffer) - min(len(c.buffer), len(rowsEnd)))
		rows += int64(bytes.Count(passed, newline))
		if len(passed) > 0 {
			fresh = passed[len(passed)-1] == '\n'
		}
		if err := c.more(); errors.Is(err, io.EOF) {
			return rows, errors.New("the dump ends inside the rows of a table")
		} else if err != nil {
			return rows, fmt.Errorf("reading the dump: %w", err)
		}
	}
}

// tableOf is the table's name in the census, from `COPY schema.table (columns) FROM stdin;`.
func tableOf(line string) string {
	rest := strings.TrimPrefix(line, copyPrefix)
	schema, rest := identifier(rest)
	table, _ := identifier(strings.TrimPrefix(rest, "."))
	return census.Name(schema, table)
}

// identifier takes one from the front of SQL that pg_dump wrote.
func identifier(text string) (name, rest string) {
	if !strings.HasPrefix(text, `"`) {
		end := strings.IndexAny(text, ". (")
		if end < 0 {
			end = len(text)
		}
		return text[:end], text[end:]
	}
	for end := 1; end < len(text); end++ {
		if text[end] != '"' {
			continue
		}
		if end+1 < len(text) && text[end+1] == '"' {
			end++
			continue
		}
		return strings.ReplaceAll(text[1:end], `""`, `"`), text[end+1:]
	}
	return text, ""
}
