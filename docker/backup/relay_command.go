package main

import (
	"context"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"wepp.example/backup/internal/event"
	"wepp.example/backup/internal/relay"
)

// lingerSeconds is how long a relay whose caller is gone stays without a connection: whoever works through it may
// still be taking back what it began at the source.
const lingerSeconds = 3 * time.Second

func init() {
	menu["relay"] = command{about: "lead to a server that only this host reaches, through a socket in --folder", run: runRelay}
}

// runRelay reads the password for the source as the first line of its input, serves until the word `stop`, or, when the
// input ends without it, until nobody has been connected for a while.
func runRelay(ctx context.Context, app *app, args []string) error {
	flags := flag.NewFlagSet("relay", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	host := flags.String("host", "localhost", "name of the source, or the folder of its socket")
	port := flags.String("port", "5432", "its port")
	user := flags.String("user", "", "to log in with for a trial")
	database := flags.String("dbname", "", "to log in to for a trial")
	folder := flags.String("folder", "", "to make and to put the socket into")
	patience := flags.Duration("patience", 0, "how long the source, which was just started, may take to answer")
	if err := flags.Parse(args); err != nil {
		return event.Usage("see the flags of relay_command.go", "relay: %s", err)
	}
	if !strings.HasPrefix(filepath.Base(*folder), relay.Prefix) {
		return event.Usage("begin its name with "+relay.Prefix, "the relay's folder is %q", *folder)
	}
	password, err := app.input.ReadString('\n')
	if err != nil {
		return event.Fail("run the task again", "whoever started the relay is gone")
	}
	leads := &relay.Relay{Host: *host, Port: *port, Password: strings.TrimRight(password, "\r\n")}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		word, _ := app.input.ReadString('\n')
		for word != "stop\n" && leads.Idle() < lingerSeconds {
			time.Sleep(lingerSeconds / 10)
		}
		stop()
	}()
	if err := leads.Try(ctx, *user, *database, *patience); err != nil {
		return err
	}
	listener, err := relay.Listen(*folder)
	if err != nil {
		return err
	}
	defer os.RemoveAll(*folder)
	served := make(chan struct{})
	go func() {
		leads.Serve(ctx, listener)
		close(served)
	}()
	app.report.Ready(map[string]any{"folder": *folder})
	<-served
	app.report.Result(map[string]any{}, "the relay has ended")
	return nil
}
