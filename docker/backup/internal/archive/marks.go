package archive

import (
	"bytes"
	"context"
	"regexp"
	"strings"
)

// mark is a statement that sets options of a column, and among them a number that servers from 17.12 on keep there for
// themselves. Their own pg_dump leaves it out. An older one, of whatever major, takes it for something that somebody has
// set and writes it out, and no older server takes it in.
var mark = regexp.MustCompile(`^(ALTER (?:FOREIGN )?TABLE .* ALTER COLUMN .* SET \()(.*)\);$`)

const markName = "pg_attver="

// Unmarked is the schema up to the rows, without those numbers; false where there are none.
func (a Archive) Unmarked(ctx context.Context) ([]byte, bool, error) {
	schema, err := output(ctx, a, "--section=pre-data", "--no-tablespaces", "--file=-")
	if err != nil || !bytes.Contains(schema, []byte(markName)) {
		return schema, false, err
	}
	unmarked := withoutMarks(schema)
	return unmarked, len(unmarked) < len(schema), nil
}

func withoutMarks(schema []byte) []byte {
	kept := make([]byte, 0, len(schema))
	var scan scanner
	for line := range bytes.Lines(schema) {
		text := strings.TrimRight(string(line), "\r\n")
		isText := scan.inRows || scan.quote != ""
		scan.line(text)
		found := mark.FindStringSubmatch(text)
		if isText || found == nil {
			kept = append(kept, line...)
			continue
		}
		options := []string{}
		for _, option := range strings.Split(found[2], ", ") {
			if !strings.HasPrefix(option, markName) {
				options = append(options, option)
			}
		}
		if len(options) > 0 {
			kept = append(kept, found[1]+strings.Join(options, ", ")+");\n"...)
		}
	}
	return kept
}
