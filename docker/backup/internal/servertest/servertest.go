// Package servertest owns a real server for the tests of this program: made anew in a folder of the test, gone with it.
package servertest

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"wepp.example/backup/internal/postgres"
)

// Required is set where the server's programs must be there (in the image's test stage), so that no test is skipped.
const Required = "WEPP_TEST_REQUIRES_SERVER"

// Start gives a running server with an empty database `wepppy`. Skips the test where no initdb is on PATH, or for the
// administrator, whom Postgres refuses.
func Start(t *testing.T, settings ...string) postgres.Server {
	t.Helper()
	if _, err := exec.LookPath("initdb"); err != nil || os.Getuid() == 0 {
		if os.Getenv(Required) != "" {
			t.Fatal("initdb is needed, and a user who is not root")
		}
		t.Skip("no initdb on PATH, or running as root")
	}
	folder, err := os.MkdirTemp("", "pg") // short: the path of a socket has at most 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) }) //nolint:errcheck // best effort
	data := filepath.Join(folder, "data")
	run(t, "initdb", "--pgdata="+data, "--username=wepppy", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-sync")
	server := postgres.Server{Host: folder, Port: strconv.Itoa(freePort(t)), User: "wepppy"}
	arguments := []string{"-D", data, "-k", folder, "-p", server.Port, "-c", "listen_addresses=", "-c", "fsync=off"}
	for _, each := range settings {
		arguments = append(arguments, "-c", each)
	}
	process := exec.Command("postgres", arguments...)
	var log bytes.Buffer
	process.Stdout, process.Stderr = &log, &log
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		process.Process.Signal(os.Interrupt) //nolint:errcheck // fast shutdown
		process.Wait()                       //nolint:errcheck // its status is of no interest
		if t.Failed() {
			t.Logf("the server's log:\n%s", log.Bytes()[max(0, log.Len()-4000):])
		}
	})
	deadline := time.Now().Add(time.Minute)
	for exec.Command("pg_isready", "--quiet", "--host="+folder, "--port="+server.Port, "--username=wepppy", "--dbname=postgres").Run() != nil {
		if time.Now().After(deadline) {
			t.Fatal("the server did not start")
		}
		time.Sleep(20 * time.Millisecond)
	}
	Do(t, server, "postgres", "CREATE DATABASE wepppy")
	return server
}

// Session opens a session that the test's end closes.
func Session(t *testing.T, server postgres.Server, database string) *pgx.Conn {
	t.Helper()
	session, err := server.Connect(context.Background(), database)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { session.Close(context.Background()) }) //nolint:errcheck // the server goes, too
	return session
}

// Do runs statements, each in a transaction of its own unless they are given as one text.
func Do(t *testing.T, server postgres.Server, database string, statements ...string) {
	t.Helper()
	session, err := server.Connect(context.Background(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close(context.Background()) //nolint:errcheck // done with it
	for _, each := range statements {
		if _, err := session.Exec(context.Background(), each); err != nil {
			t.Fatalf("%s: %v", each, err)
		}
	}
}

func run(t *testing.T, name string, arguments ...string) {
	t.Helper()
	if told, err := exec.Command(name, arguments...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, told)
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() //nolint:errcheck // only the number is wanted
	return listener.Addr().(*net.TCPAddr).Port
}
