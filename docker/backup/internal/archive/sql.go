package archive

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// Needs is what SQL written by pg_dump asks of the server it is loaded into.
type Needs struct {
	Database      string   // name of the dumped database; "" where a plain dump does not tell
	ServerVersion string   // of the server it was dumped from: "16.4 (Debian ...)"
	ClientVersion string   // of the pg_dump that wrote it
	Extensions    []string // that it creates
	Roles         []string // that it gives things to
}

var (
	copyStart = regexp.MustCompile(`^COPY .* FROM stdin;$`)
	extension = regexp.MustCompile(`^CREATE EXTENSION (?:IF NOT EXISTS )?("(?:[^"]|"")+"|[^ ;]+)`)
	owner     = regexp.MustCompile(`^ALTER .* OWNER TO ("(?:[^"]|"")+"|[^ ;]+);$`)
	grantee   = regexp.MustCompile(`^(?:GRANT|ALTER DEFAULT PRIVILEGES) .* TO ("(?:[^"]|"")+"|[^ ;]+)(?: WITH GRANT OPTION)?;$`)
	session   = regexp.MustCompile(`^SET SESSION AUTHORIZATION ("(?:[^"]|"")+"|[^ ;']+);$`)
	fromWhich = regexp.MustCompile(`^-- Dumped from database version (.+)$`)
	byWhich   = regexp.MustCompile(`^-- Dumped by pg_dump version (.+)$`)
	connects  = regexp.MustCompile(`^\\c(onnect)? |^CREATE DATABASE |^CREATE ROLE `)
)

// longestLine is the most of a line that is looked at; rows may be longer, statements that matter here are not.
const longestLine = 64 << 10

// scanner reads SQL line by line and knows rows of COPY from statements.
type scanner struct {
	needs  Needs
	inRows bool
	ended  bool // the closing comment was seen
	quote  string
	refuse string // why psql must not be given this
}

// readSQL reads plain SQL to its end. complete: it must end as pg_dump ends a whole dump, and hold nothing that makes
// psql do more than load it (plain dumps have carried hidden commands: CVE-2025-8714). Returns what it needs, or why not.
func readSQL(text io.Reader, complete bool) (Needs, string, error) {
	var scan scanner
	lines := bufio.NewReaderSize(text, longestLine)
	for {
		line, err := lines.ReadSlice('\n')
		rest := false
		for err == bufio.ErrBufferFull {
			if bytes.IndexByte(line, 0) >= 0 {
				return scan.needs, "it holds zero bytes", nil
			}
			if !rest {
				scan.line(string(line))
			}
			rest = true
			line, err = lines.ReadSlice('\n')
		}
		if bytes.IndexByte(line, 0) >= 0 {
			return scan.needs, "it holds zero bytes", nil
		}
		if !rest {
			scan.line(strings.TrimRight(string(line), "\r\n"))
		}
		if scan.refuse != "" {
			return scan.needs, scan.refuse, nil
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return scan.needs, "", err
		}
	}
	slices.Sort(scan.needs.Extensions)
	slices.Sort(scan.needs.Roles)
	if !complete {
		return scan.needs, "", nil
	}
	switch {
	case scan.inRows:
		return scan.needs, "it ends inside the rows of a table", nil
	case !scan.ended:
		return scan.needs, "it is not complete, its closing line is missing", nil
	}
	return scan.needs, "", nil
}

func (s *scanner) line(line string) {
	if s.inRows {
		s.inRows = line != `\.`
		return
	}
	if s.quote != "" {
		// Inside a function's body: its lines are text, whatever they look like.
		if strings.Contains(line, s.quote) && strings.Count(line, s.quote)%2 == 1 {
			s.quote = ""
		}
		return
	}
	if s.ended && line != "" && !strings.HasPrefix(line, "--") && !strings.HasPrefix(line, `\unrestrict `) {
		s.refuse = "something follows its closing line"
		return
	}
	switch {
	case line == plainEnd:
		s.ended = true
	case copyStart.MatchString(line):
		s.inRows = true
	case connects.MatchString(line):
		s.refuse = "it leaves its database or makes others (pg_dump --create or pg_dumpall); dump the one database without --create"
	case strings.HasPrefix(line, `\`) && !strings.HasPrefix(line, `\restrict `) && !strings.HasPrefix(line, `\unrestrict `):
		s.refuse = fmt.Sprintf("it holds a command for psql (%.20s), which no dump needs", line)
	default:
		s.statement(line)
	}
}

func (s *scanner) statement(line string) {
	if found := fromWhich.FindStringSubmatch(line); found != nil {
		s.needs.ServerVersion = found[1]
	} else if found := byWhich.FindStringSubmatch(line); found != nil {
		s.needs.ClientVersion = found[1]
	} else if found := extension.FindStringSubmatch(line); found != nil {
		s.needs.Extensions = add(s.needs.Extensions, found[1])
	}
	for _, pattern := range []*regexp.Regexp{owner, grantee, session} {
		if found := pattern.FindStringSubmatch(line); found != nil && !slices.Contains([]string{"PUBLIC", "DEFAULT"}, found[1]) {
			s.needs.Roles = add(s.needs.Roles, found[1])
		}
	}
	if tag := openQuote(line); tag != "" {
		s.quote = tag
	}
}

var dollarTag = regexp.MustCompile(`\$[A-Za-z_0-9]*\$`)

// openQuote is the dollar-quote tag that a line opens and does not close.
func openQuote(line string) string {
	if strings.HasPrefix(line, "--") {
		return ""
	}
	open := ""
	for _, tag := range dollarTag.FindAllString(line, -1) {
		switch open {
		case "":
			open = tag
		case tag:
			open = ""
		}
	}
	return open
}

func add(names []string, quoted string) []string {
	name := quoted
	if strings.HasPrefix(quoted, `"`) {
		// One quote at either end: further ones belong to the name.
		name = strings.ReplaceAll(strings.TrimSuffix(quoted[1:], `"`), `""`, `"`)
	}
	if slices.Contains(names, name) {
		return names
	}
	return append(names, name)
}
