package relay

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"wepp.example/backup/internal/door"
	"wepp.example/backup/internal/event"
)

const secret = "a password"

// serve is a server that wants the password, answers one query with its own words and hears wishes to cancel.
func serve(t *testing.T) (port string, cancelled chan uint32) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	cancelled = make(chan uint32, 1)
	go accept(listener, cancelled)
	_, port, _ = net.SplitHostPort(listener.Addr().String())
	return port, cancelled
}

func accept(listener net.Listener, cancelled chan uint32) {
	for {
		client, err := listener.Accept()
		if err != nil {
			return
		}
		go session(client, cancelled)
	}
}

func session(client net.Conn, cancelled chan uint32) {
	defer client.Close()
	backend := pgproto3.NewBackend(client, client)
	for {
		message, err := backend.ReceiveStartupMessage()
		if err != nil {
			return
		}
		if wish, is := message.(*pgproto3.CancelRequest); is {
			cancelled <- wish.ProcessID
			return
		}
		if _, is := message.(*pgproto3.SSLRequest); !is {
			break
		}
		client.Write([]byte{'N'})
	}
	backend.Send(&pgproto3.AuthenticationCleartextPassword{})
	backend.SetAuthType(pgproto3.AuthTypeCleartextPassword)
	backend.Flush()
	answer, err := backend.Receive()
	if given, is := answer.(*pgproto3.PasswordMessage); err != nil || !is || given.Password != secret {
		backend.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "28P01", Message: "password authentication failed"})
		backend.Flush()
		return
	}
	backend.Send(&pgproto3.AuthenticationOk{})
	backend.Send(&pgproto3.ParameterStatus{Name: "server_version", Value: "16.14"})
	backend.Send(&pgproto3.BackendKeyData{ProcessID: 4711, SecretKey: 12})
	backend.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	backend.Flush()
	for {
		if _, err := backend.Receive(); err != nil {
			return
		}
		backend.Send(&pgproto3.CommandComplete{CommandTag: []byte("HELLO 1")})
		backend.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
		backend.Flush()
	}
}

// lead starts a relay and returns how to connect through it.
func lead(t *testing.T, relay *Relay) (string, *pgconn.Config) {
	t.Helper()
	// t.TempDir has the test's name in it, and a socket's path has room for a hundred letters.
	parent, err := os.MkdirTemp("", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(parent) })
	folder := filepath.Join(parent, Prefix+"1")
	listener, err := Listen(folder)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	go relay.Serve(ctx, listener)
	config, err := pgconn.ParseConfig("user=somebody dbname=something")
	if err != nil {
		t.Fatal(err)
	}
	config.Host, config.Port, config.Password, config.Fallbacks, config.TLSConfig = folder, 5432, "", nil, nil
	return folder, config
}

func TestWhoComesThroughTheSocketNeedsNoPasswordAndMayCancel(t *testing.T) {
	port, cancelled := serve(t)
	relay := &Relay{Host: "127.0.0.1", Port: port, Password: secret}
	_, config := lead(t, relay)
	session, err := pgconn.ConnectConfig(context.Background(), config)
	if err != nil {
		t.Fatal(err)
	}
	if version := session.ParameterStatus("server_version"); version != "16.14" || session.PID() != 4711 {
		t.Fatalf("version %q, process %d", version, session.PID())
	}
	results, err := session.Exec(context.Background(), "anything").ReadAll()
	if err != nil || results[0].CommandTag.String() != "HELLO 1" {
		t.Fatalf("%v, %v", results, err)
	}
	if relay.Idle() != 0 {
		t.Fatal("a relay with a connection is not idle")
	}
	if err := session.CancelRequest(context.Background()); err != nil {
		t.Fatal(err)
	}
	if process := <-cancelled; process != 4711 {
		t.Fatalf("process %d was to be cancelled", process)
	}
	session.Close(context.Background())
	for until := time.Now().Add(10 * time.Second); relay.Idle() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("a relay without connections is idle")
		}
	}
}

func TestARefusalOfTheSourceArrivesInItsOwnWordsAndIsToldWithItsMend(t *testing.T) {
	port, _ := serve(t)
	relay := &Relay{Host: "127.0.0.1", Port: port, Password: "wrong"}
	_, config := lead(t, relay)
	if _, err := pgconn.ConnectConfig(context.Background(), config); err == nil || !strings.Contains(err.Error(), "password authentication failed") {
		t.Fatalf("got %v", err)
	}
	problem := event.ProblemOf(relay.Try(context.Background(), "somebody", "something", 0))
	if problem.Exit != event.ExitRefused || !strings.Contains(problem.Mend, "--password-file") || strings.Contains(problem.What, "wrong") {
		t.Fatalf("got %+v", problem)
	}
}

func TestARefusedLoginIsMendedWhereTheServerSaysItFails(t *testing.T) {
	for words, message := range map[string]string{
		"pg_hba.conf has no line for this": "kein pg_hba.conf-Eintrag für Host »127.0.0.1«",
		"use another --user":               `role "ubuntu" does not exist`,
		"peer authentication wants":        `Peer authentication failed for user "wepppy"`,
	} {
		problem := event.ProblemOf(refused("127.0.0.1", "5432", "ubuntu", &pgconn.PgError{Code: "28000", Message: message}))
		if !strings.Contains(problem.Mend, words) {
			t.Errorf("%s: %+v", message, problem)
		}
	}
}

func TestNoServerAtAllIsTold(t *testing.T) {
	for _, relay := range []*Relay{{Host: "127.0.0.1", Port: "1"}, {Host: t.TempDir(), Port: "5432"}} {
		problem := event.ProblemOf(relay.Try(context.Background(), "somebody", "something", 0))
		if problem.Exit != event.ExitRefused || !strings.Contains(problem.What, "no server answers") {
			t.Fatalf("got %+v", problem)
		}
	}
}

func TestAServerThatIsOnlyStartingIsWaitedForAndAWrongPasswordIsNot(t *testing.T) {
	const starting = 3
	folder, err := os.MkdirTemp("", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	cancelled := make(chan uint32, 1)
	ready := make(chan struct{})
	go func() {
		defer close(ready)
		time.Sleep(askAgain)
		listener, err := net.Listen("unix", filepath.Join(folder, door.SocketName))
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { listener.Close() })
		for range starting {
			client, err := listener.Accept()
			if err != nil {
				t.Error(err)
				return
			}
			backend := pgproto3.NewBackend(client, client)
			backend.ReceiveStartupMessage()
			backend.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "57P03", Message: "the database system is starting up"})
			backend.Flush()
			client.Close()
		}
		go accept(listener, cancelled)
	}()
	relay := &Relay{Host: folder, Port: "5432", Password: secret}
	if err := relay.Try(context.Background(), "somebody", "something", time.Minute); err != nil {
		t.Fatal(err)
	}
	<-ready
	relay.Password = "wrong"
	problem := event.ProblemOf(relay.Try(context.Background(), "somebody", "something", time.Hour))
	if !strings.Contains(problem.What, "password authentication failed") {
		t.Fatalf("got %+v", problem)
	}
}

func TestWhoeverGoesAwayEndsTheWaiting(t *testing.T) {
	ctx, leave := context.WithCancel(context.Background())
	leave()
	relay := &Relay{Host: t.TempDir(), Port: "5432"}
	if relay.Try(ctx, "somebody", "something", time.Hour) == nil {
		t.Fatal("nobody answers there")
	}
}

func TestARelayRemovesWhatDeadOnesLeftAndLeavesLivingOnesAlone(t *testing.T) {
	port, _ := serve(t)
	living, _ := lead(t, &Relay{Host: "127.0.0.1", Port: port})
	beside := func(name string) string { return filepath.Join(filepath.Dir(living), Prefix+name) }
	dead, young, killed := beside("dead"), beside("young"), beside("killed")
	for _, folder := range []string{dead, young, killed} {
		if err := os.Mkdir(folder, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	longAgo := time.Now().Add(-time.Hour)
	for _, folder := range []string{dead, living} {
		if err := os.Chtimes(folder, longAgo, longAgo); err != nil {
			t.Fatal(err)
		}
	}
	socket, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(killed, door.SocketName), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	socket.SetUnlinkOnClose(false)
	socket.Close()
	sweep(filepath.Dir(living))
	for folder, stays := range map[string]bool{dead: false, killed: false, young: true, living: true} {
		if _, err := os.Stat(folder); (err == nil) != stays {
			t.Fatalf("%s: stays should be %t", folder, stays)
		}
	}
}
