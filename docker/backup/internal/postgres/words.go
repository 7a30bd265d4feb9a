package postgres

import (
	"errors"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"wepp.example/backup/internal/event"
)

// What a server says when it is in trouble itself, by its codes and, for programs that pass on its words alone, by those.
// The words are English, as the stack's own server and sessions that load a dump as a superuser have them.
var (
	// The system's words, or the server's own where a file took only a part of a page (mdextend in PostgreSQL's
	// storage/smgr/md.c).
	fullWords = regexp.MustCompile(`(?i)no space left on device|disk quota exceeded|wrote only \d+ of \d+ bytes`)
	// /dev/shm, which nothing that lies on a disk fills.
	sharedWords = regexp.MustCompile(`(?i)shared memory segment`)
	illWords    = regexp.MustCompile(`(?i)^(?:out of (?:shared )?memory|deadlock detected|canceling statement due to (?:user request|conflict)|` +
		`invalid page in block|could not (?:read|write|extend|fsync|create|truncate) (?:to )?(?:file|blocks?|directory) )|` +
		`^could not .*: (?:input/output error|read-only file system|too many open files)`)
	// What ends a session, as its server says it, and as a client does that has lost it.
	endWords  = regexp.MustCompile(`terminating connection|in recovery mode|shutting down|starting up|too many clients|remaining connection slots`)
	lostWords = regexp.MustCompile(`server closed the connection|connection to server (?:at|on|was)|SSL SYSCALL error|SSL connection has been closed|` +
		`could not (?:send data to|receive data from) server|no connection to the server`)

	// A program's own lines, not its quotations of statements and rows, which may be about anything; so may names and values.
	ownLine = regexp.MustCompile(`^(?:pg_\w+|psql|vacuumdb):`)
	quoted  = regexp.MustCompile(`"[^"]*"`)
	// What a line passes on of the server's, and what the program says itself.
	serverWords = regexp.MustCompile(`^(.*?)\b(ERROR|FATAL|PANIC): +(.*)$`)
	clientWords = regexp.MustCompile(`^.*?\berror: +(.*)$`)
)

// line is one that a client program wrote: client is its own part, server what it passes on with that severity.
type line struct{ client, severity, server string }

func lines(told string) (found []line) {
	for each := range strings.Lines(told) {
		each = strings.TrimRight(each, "\r\n ") // what is indented is quoted
		if !ownLine.MatchString(each) {
			continue
		}
		if parts := serverWords.FindStringSubmatch(each); parts != nil {
			found = append(found, line{parts[1], parts[2], parts[3]})
		} else {
			found = append(found, line{client: each})
		}
	}
	return found
}

// FirstError is what a client program complained of first, without its own name: what follows are consequences. Where it
// has the server's words for it, those, too. Without an error its first line, and without any words "".
func FirstError(told string) string {
	var own, said string
	for _, each := range lines(told) {
		if said = each.server; said != "" {
			break
		}
		if parts := clientWords.FindStringSubmatch(each.client); parts != nil && own == "" {
			own = parts[1]
		}
	}
	switch {
	case own != "" && said != "":
		return strings.TrimSuffix(own, ".") + ": " + said
	case own != "" || said != "":
		return own + said
	}
	first, _, _ := strings.Cut(strings.TrimSpace(told), "\n")
	return first
}

// Trouble is the problem that a server has by itself, by all that a client program told of it; nil where what it was
// asked to do is to blame.
func Trouble(told string) error {
	for _, each := range lines(told) {
		client, server := quoted.ReplaceAllString(each.client, ""), quoted.ReplaceAllString(each.server, "")
		switch {
		case fullWords.MatchString(server), sharedWords.MatchString(server):
			return noRoom(each.server)
		case each.severity == "FATAL" && endWords.MatchString(server), lostWords.MatchString(client):
			return event.Fail("see the server's log, then run it again", "the server went away, or lets nobody in any more: %s", FirstError(told))
		case illWords.MatchString(server):
			return event.Fail("see the server's log, then run it again", "the server could not go on: %s", FirstError(told))
		}
	}
	return nil
}

// Full is the problem behind an error of a server that has no room, on its disk or in its shared memory; nil for every
// other error. A quota that is used up has the code of an internal error.
func Full(err error) error {
	var answer *pgconn.PgError
	if !errors.As(err, &answer) {
		return nil
	}
	class := answer.Code[:min(2, len(answer.Code))]
	if answer.Code == "53100" || (class == "53" || class == "58" || class == "XX") && fullWords.MatchString(answer.Message) {
		return noRoom(answer.Message)
	}
	return nil
}

func noRoom(why string) error {
	if sharedWords.MatchString(why) {
		return event.Fail("give it more (shm_size of the service postgres), or use fewer --jobs, then run it again", "the server's shared memory is full: %s", why)
	}
	return event.Fail("make room there (`invoke db-prune` drops databases kept by earlier restores; docker system df), then run it again",
		"the server's disk is full: %s", why)
}
