package postgres

import (
	"errors"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"wepp.example/backup/internal/event"
)

// What a server says when it is in trouble itself, by its codes and, for programs that pass on its words alone, by those.
// The words are English: the stack's server speaks it, and a superuser's sessions ask any other for it.
var (
	// The system's words, or the server's own where a file took only a part of a page (mdextend in PostgreSQL's
	// storage/smgr/md.c).
	fullWords = regexp.MustCompile(`(?i)no space left on device|quota exceeded|wrote only \d+ of \d+ bytes|disk full`)
	// /dev/shm, which nothing that lies on a disk fills.
	sharedWords = regexp.MustCompile(`(?i)shared memory segment`)
	goneWords   = regexp.MustCompile(`(?i)server closed the connection|connection to server|terminating connection|in recovery mode|shutting down|` +
		`starting up|connection (?:refused|reset|timed out)|ssl syscall error|ssl connection has been closed|no connection to the server|` +
		`too many clients|remaining connection slots`)
	illWords = regexp.MustCompile(`(?i)\b(?:error|panic): +(?:out of (?:shared )?memory|deadlock detected|canceling statement due to (?:user request|conflict)|` +
		`invalid page in block|could not (?:read|write|extend|fsync|create|truncate) (?:to )?(?:file|blocks?|directory) )|` +
		`input/output error|read-only file system|too many open files`)
	// What a client program says by itself: not its quotations of statements and rows, which may be about anything.
	ownLines   = regexp.MustCompile(`(?m)^(?:(?:pg_\w+|psql|vacuumdb)\b.*|.*\bError message from server: .*)$`)
	errorLine  = regexp.MustCompile(`(?m)^.*\b(?:ERROR|FATAL|PANIC|error): +(.*)$`)
	serverLine = regexp.MustCompile(`(?m)^.*\b(?:ERROR|FATAL|PANIC): +(.*)$`)
)

// FirstError is what a client program complained of first, without its own name: what follows are consequences. Where it
// has the server's words for it, those, too. Without an error its first line, and without any words "".
func FirstError(told string) string {
	first, _, _ := strings.Cut(strings.TrimSpace(told), "\n")
	if found := errorLine.FindStringSubmatch(told); found != nil {
		first = found[1]
	}
	if said := ServerSaid(told); !strings.Contains(first, said) {
		first += ": " + said
	}
	return strings.TrimSpace(first)
}

// ServerSaid is the first complaint of the server that a client program passed on; "" where all are the program's own.
func ServerSaid(told string) string {
	if found := serverLine.FindStringSubmatch(strings.Join(ownLines.FindAllString(told, -1), "\n")); found != nil {
		return strings.TrimSpace(found[1])
	}
	return ""
}

// Trouble is the problem that a server has by itself, by all that a client program told of it; nil where what it was
// asked to do is to blame.
func Trouble(told string) error {
	why := FirstError(told)
	told = strings.Join(ownLines.FindAllString(told, -1), "\n")
	switch {
	case SaysFull(told):
		return FullDisk(why)
	case sharedWords.MatchString(told):
		return event.Fail("give it more (shm_size of the service postgres), or use fewer --jobs, then run it again", "the server's shared memory is full: %s", why)
	case goneWords.MatchString(told):
		return event.Fail("see the server's log, then run it again", "the server went away, or lets nobody in any more: %s", why)
	case illWords.MatchString(told):
		return event.Fail("see the server's log, then run it again", "the server could not go on: %s", why)
	}
	return nil
}

// Full is the problem behind an error of a server whose disk is full; nil for every other error.
func Full(err error) error {
	var answer *pgconn.PgError
	if errors.As(err, &answer) && (answer.Code == "53100" && !sharedWords.MatchString(answer.Message) || SaysFull(answer.Message)) {
		return FullDisk(answer.Message)
	}
	return nil
}

// SaysFull tells whether a full disk is what a server speaks of.
func SaysFull(words string) bool {
	return fullWords.MatchString(words) && !sharedWords.MatchString(words)
}

// FullDisk says that the server's disk is full; why is what the server said.
func FullDisk(why string) error {
	return event.Fail("make room there (`invoke db-prune` drops databases kept by earlier restores; docker system df), then run it again",
		"the server's disk is full: %s", why)
}

// Midway is err for work that had begun when it came: what would be a refusal at the beginning is a failure then.
func Midway(err error) error {
	var problem *event.Problem
	if errors.As(err, &problem) && problem.Exit == event.ExitRefused {
		return event.Fail(problem.Mend, "%s", problem.What)
	}
	return err
}
