// Package event owns how this program talks: JSON lines for the tasks on the host, plain lines for people and logs.
//
// A line is one object with a `kind`: `progress` (phase, done and total in bytes or pieces), `note` (text), `ready`
// (what was prepared; the program waits for a word on its standard input), `result` (the answer, the last line of a
// run that went well) or `problem` (what, mend, and exit: the status the program ends with). `left` is a note, too: of
// something that stays behind, for whoever asked to see to.
package event

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// Exit statuses, the same as those of the tasks.
const (
	ExitBug     = 1
	ExitUsage   = 2
	ExitUnknown = 3 // the server is away, and only it knows what is live
	ExitRefused = 4 // nothing was changed
	ExitFailed  = 5 // the state is as it was before
)

// Problem is something that a person can mend: what is wrong and how to mend it, each one line.
type Problem struct {
	What string `json:"what"`
	Mend string `json:"mend"`
	Exit int    `json:"exit"`
}

func (p *Problem) Error() string { return p.What }

// Refuse says why something is not done; nothing was changed.
func Refuse(mend, what string, args ...any) error {
	return &Problem{What: oneLine(fmt.Sprintf(what, args...)), Mend: oneLine(mend), Exit: ExitRefused}
}

// Fail says what went wrong on the way; everything is as it was before.
func Fail(mend, what string, args ...any) error {
	return &Problem{What: oneLine(fmt.Sprintf(what, args...)), Mend: oneLine(mend), Exit: ExitFailed}
}

// Usage says which flag or word makes no sense.
func Usage(mend, what string, args ...any) error {
	return &Problem{What: oneLine(fmt.Sprintf(what, args...)), Mend: oneLine(mend), Exit: ExitUsage}
}

// Unknown says that nobody can tell whether something was done, because the server does not come back.
func Unknown(mend, what string, args ...any) error {
	return &Problem{What: oneLine(fmt.Sprintf(what, args...)), Mend: oneLine(mend), Exit: ExitUnknown}
}

// Midway is err for work that had begun when it came: what would be a refusal at the beginning is a failure then.
func Midway(err error) error {
	var problem *Problem
	if errors.As(err, &problem) && problem.Exit == ExitRefused {
		return Fail(problem.Mend, "%s", problem.What)
	}
	return err
}

// IsUnknown is true for what Unknown made.
func IsUnknown(err error) bool {
	var problem *Problem
	return errors.As(err, &problem) && problem.Exit == ExitUnknown
}

// ProblemOf is the problem in an error's chain; any other error becomes one that asks for a report.
func ProblemOf(err error) *Problem {
	var problem *Problem
	if errors.As(err, &problem) {
		return problem
	}
	return &Problem{What: oneLine(err.Error()), Mend: "see the lines above; the database is as it was before", Exit: ExitFailed}
}

// Reporter takes what a command has to say. Safe for use by several goroutines.
type Reporter struct {
	mutex  sync.Mutex
	out    io.Writer
	asJSON bool
	now    func() time.Time
	last   map[string]time.Time
}

// progressPause keeps a fast phase from writing more lines than anybody reads.
const progressPause = 200 * time.Millisecond

// New makes a reporter that writes to out: JSON lines, or lines with the time in front for people.
func New(out io.Writer, asJSON bool, now func() time.Time) *Reporter {
	return &Reporter{out: out, asJSON: asJSON, now: now, last: map[string]time.Time{}}
}

// Progress says how far a phase has come; total 0 when nobody knows.
func (r *Reporter) Progress(phase string, done, total int64) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	now := r.now()
	ended := total > 0 && done >= total
	if !r.asJSON || (!ended && now.Sub(r.last[phase]).Abs() < progressPause) {
		return
	}
	r.last[phase] = now
	r.write(map[string]any{"kind": "progress", "phase": phase, "done": done, "total": total})
}

// Note is a remark.
func (r *Reporter) Note(text string, args ...any) {
	r.line("note", map[string]any{"text": fmt.Sprintf(text, args...)}, fmt.Sprintf(text, args...))
}

// Left says what stays behind because it could not be taken back. Whoever asked may be able to do it a little later.
func (r *Reporter) Left(text string, args ...any) {
	r.line("left", map[string]any{"text": fmt.Sprintf(text, args...)}, fmt.Sprintf(text, args...))
}

// Ready says that all is prepared and a word on standard input is awaited.
func (r *Reporter) Ready(prepared any) {
	r.line("ready", map[string]any{"prepared": prepared}, "ready")
}

// lostPause lies between two cries for the server. One is not enough: whoever hears the first may find the server's
// container still running, for the engine notices its end a moment later than we do.
const lostPause = 2 * time.Second

// Lost says that the server went away while something was under way there. To be called as often as it is missed.
func (r *Reporter) Lost() {
	const phase = "\x00lost"
	r.mutex.Lock()
	now := r.now()
	soon := now.Sub(r.last[phase]).Abs() < lostPause
	if !soon {
		r.last[phase] = now
	}
	r.mutex.Unlock()
	if soon {
		return
	}
	text := "the database server went away; waiting for it"
	r.line("lost", map[string]any{"text": text}, text)
}

// Result is the answer of the command.
func (r *Reporter) Result(answer any, text string, args ...any) {
	r.line("result", map[string]any{"answer": answer}, fmt.Sprintf(text, args...))
}

// Problem says why the command did not do what it was asked.
func (r *Reporter) Problem(problem *Problem) {
	r.line("problem", map[string]any{"what": problem.What, "mend": problem.Mend, "exit": problem.Exit},
		fmt.Sprintf("error: %s\n mend: %s", problem.What, problem.Mend))
}

func (r *Reporter) line(kind string, fields map[string]any, text string) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if !r.asJSON {
		fmt.Fprintf(r.out, "%s %s\n", r.now().Format(time.RFC3339), text)
		return
	}
	fields["kind"] = kind
	r.write(fields)
}

func (r *Reporter) write(fields map[string]any) {
	encoded, err := json.Marshal(fields)
	if err != nil {
		panic(err) // only values made here are encoded
	}
	r.out.Write(append(encoded, '\n')) //nolint:errcheck // whoever listened has left; the work goes on by its own rules
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
