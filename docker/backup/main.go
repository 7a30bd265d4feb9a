// Program wepp-backup is the hand at the database: it dumps, verifies, restores beside, swaps and moves databases.
//
//	wepp-backup [--json] COMMAND [flags]
//
// It runs in the backup sidecar and in one-off containers of the same image. Its answers are lines (package event);
// where a command says `ready` it waits for one word on standard input, and an input that ends there means that whoever
// asked is gone: what was prepared is removed again. Exit statuses: see package event.
package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sort"
	"strings"
	"syscall"
	"time"

	"wepp.example/backup/internal/event"
	"wepp.example/backup/internal/postgres"
	"wepp.example/backup/internal/settings"
)

// app is what every command gets.
type app struct {
	settings settings.Settings
	server   postgres.Server
	report   *event.Reporter
	asJSON   bool // a program asks
	input    *bufio.Reader
	left     []func() // see afterwards
}

// afterwards has something done once the answer or the problem is told; what was asked for last is done first.
func (app *app) afterwards(act func()) { app.left = append(app.left, act) }

func (app *app) tidy() {
	for len(app.left) > 0 {
		last := len(app.left) - 1
		act := app.left[last]
		app.left = app.left[:last]
		act()
	}
}

// command is one entry of the menu.
type command struct {
	about string
	run   func(ctx context.Context, app *app, args []string) error
}

var menu = map[string]command{}

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout)) }

func run(args []string, input io.Reader, output io.Writer) int {
	asJSON := len(args) > 0 && args[0] == "--json"
	if asJSON {
		args = args[1:]
	}
	report := event.New(output, asJSON, time.Now)
	read, err := settings.Read(os.Getenv)
	chosen := &app{}
	// After the answer: a server that hangs must not keep whoever asked from hearing of it.
	defer func() { chosen.tidy() }()
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
		defer stop()
		chosen = &app{
			settings: read,
			server:   postgres.Server{Host: read.Host, Port: read.Port, User: read.User, Passfile: os.Getenv("PGPASSFILE")},
			report:   report,
			asJSON:   asJSON,
			input:    bufio.NewReader(input),
		}
		err = choose(ctx, args, chosen)
	}
	if err == nil {
		return 0
	}
	if full := postgres.Full(err); full != nil {
		err = full
	}
	problem := event.ProblemOf(err)
	report.Problem(problem)
	return problem.Exit
}

func choose(ctx context.Context, args []string, app *app) error {
	if len(args) > 0 {
		if chosen, there := menu[args[0]]; there {
			return chosen.run(ctx, app, args[1:])
		}
	}
	lines := make([]string, 0, len(menu))
	for name, each := range menu {
		lines = append(lines, fmt.Sprintf("  %-10s %s", name, each.about))
	}
	sort.Strings(lines)
	fmt.Fprintf(os.Stderr, "wepp-backup [--json] COMMAND [flags]\n%s\n", strings.Join(lines, "\n"))
	return event.Usage("choose one of the commands", "%q is no command of wepp-backup", strings.Join(args, " "))
}
