package swap

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"wepp.example/backup/internal/event"
	"wepp.example/backup/internal/postgres"
	"wepp.example/backup/internal/scratch"
	"wepp.example/backup/internal/servertest"
)

// between passes one client's connections on to a server and can cut them off when a certain statement goes by.
type between struct {
	listener net.Listener
	to       string
	mutex    sync.Mutex
	word     string // the statement
	pass     bool   // on to the server before the connection is cut
	shut     bool   // nobody gets in from then on
	away     bool   // nobody gets in
}

// lead gives a server that is reached through the one in between.
func lead(t *testing.T, server postgres.Server) (postgres.Server, *between) {
	t.Helper()
	folder, err := os.MkdirTemp("", "bt")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) }) //nolint:errcheck // best effort
	listener, err := net.Listen("unix", filepath.Join(folder, ".s.PGSQL."+server.Port))
	if err != nil {
		t.Fatal(err)
	}
	made := &between{listener: listener, to: filepath.Join(server.Host, ".s.PGSQL."+server.Port)}
	t.Cleanup(func() { listener.Close() })
	go made.serve()
	return postgres.Server{Host: folder, Port: server.Port, User: server.User}, made
}

// cutAt has the connection cut on which the word goes by next. pass: on to the server before that. shut: for good.
func (b *between) cutAt(word string, pass, shut bool) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.word, b.pass, b.shut = word, pass, shut
}

// open lets everybody in again.
func (b *between) open() {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.away = false
}

func (b *between) serve() {
	for {
		client, err := b.listener.Accept()
		if err != nil {
			return
		}
		b.mutex.Lock()
		away := b.away
		b.mutex.Unlock()
		server, err := net.Dial("unix", b.to)
		if err != nil || away {
			client.Close()
			continue
		}
		deaf := &atomic.Bool{}
		go b.up(client, server, deaf)
		go down(client, server, deaf)
	}
}

func down(client, server net.Conn, deaf *atomic.Bool) {
	defer client.Close()
	buffer := make([]byte, 1<<16)
	for {
		count, err := server.Read(buffer)
		if err != nil || deaf.Load() {
			return
		}
		if _, err := client.Write(buffer[:count]); err != nil {
			return
		}
	}
}

func (b *between) up(client, server net.Conn, deaf *atomic.Bool) {
	defer client.Close()
	defer server.Close()
	buffer := make([]byte, 1<<16)
	for {
		count, err := client.Read(buffer)
		if err != nil {
			return
		}
		b.mutex.Lock()
		cut := b.word != "" && bytes.Contains(buffer[:count], []byte(b.word))
		if cut {
			b.word, b.away = "", b.shut
			deaf.Store(true)
		}
		pass := b.pass
		b.mutex.Unlock()
		if cut && !pass {
			return
		}
		if _, err := server.Write(buffer[:count]); err != nil {
			return
		}
		if cut {
			// By then the server has read it; its answer reaches nobody.
			time.Sleep(300 * time.Millisecond)
			return
		}
	}
}

// ready is a server with a live database and one to be swapped in.
func ready(t *testing.T) (*scratch.Lock, *between, *bytes.Buffer) {
	t.Helper()
	server := servertest.Start(t)
	servertest.Do(t, server, "postgres", "CREATE DATABASE incoming")
	servertest.Do(t, server, "incoming", "CREATE TABLE public.new (id int)")
	through, cable := lead(t, server)
	var told bytes.Buffer
	lock, err := scratch.Take(context.Background(), through, "wepppy", event.New(&told, false, time.Now))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(lock.Release)
	return lock, cable, &told
}

func newIsLive(t *testing.T, lock *scratch.Lock) bool {
	t.Helper()
	found, err := Look(context.Background(), lock.Server, lock.Live, lock.Report)
	if err != nil {
		t.Fatal(err)
	}
	session := servertest.Session(t, lock.Server, lock.Live)
	var there bool
	if err := session.QueryRow(context.Background(), "select to_regclass('public.new') is not null").Scan(&there); err != nil {
		t.Fatal(err)
	}
	if there != (found.Kept != "") {
		t.Fatalf("new: %t, kept: %q", there, found.Kept)
	}
	return there
}

func TestASessionLostInTheCommitIsNoFailureWhenTheServerCommitted(t *testing.T) {
	lock, cable, _ := ready(t)
	cable.cutAt("commit", true, false)
	kept, err := Swap(context.Background(), lock, "incoming", true, "a test")
	if err != nil || kept == "" {
		t.Fatalf("kept %q: %v", kept, err)
	}
	if !newIsLive(t, lock) {
		t.Error("the old one is live")
	}
}

func TestASessionLostBeforeTheCommitIsAFailureThatLeavesTheOldOneLive(t *testing.T) {
	for _, word := range []string{"rename to", "commit"} {
		t.Run(word, func(t *testing.T) {
			lock, cable, _ := ready(t)
			cable.cutAt(word, false, false)
			_, err := Swap(context.Background(), lock, "incoming", true, "a test")
			if err == nil || event.IsUnknown(err) || !strings.Contains(err.Error(), "did not take place") {
				t.Errorf("told: %v", err)
			}
			if newIsLive(t, lock) {
				t.Error("the new one is live")
			}
		})
	}
}

func TestWhatIsStillBeingCommittedIsWaitedFor(t *testing.T) {
	lock, cable, _ := ready(t)
	// The commit waits for a standby that does not exist, until the session is ended.
	servertest.Do(t, lock.Server, "postgres", "ALTER SYSTEM SET synchronous_standby_names = 'nobody'", "SELECT pg_reload_conf()")
	cable.cutAt("commit", true, false)
	began := time.Now()
	kept, err := Swap(context.Background(), lock, "incoming", true, "a test")
	if err != nil || kept == "" {
		t.Fatalf("after %s: kept %q: %v", time.Since(began), kept, err)
	}
	if !newIsLive(t, lock) {
		t.Error("the old one is live")
	}
}

func TestWhileTheServerStaysAwayNothingIsClaimed(t *testing.T) {
	lock, cable, told := ready(t)
	patience := knowPatience
	knowPatience = 3 * time.Second
	t.Cleanup(func() { knowPatience = patience })
	cable.cutAt("commit", true, true)
	_, err := Swap(context.Background(), lock, "incoming", true, "a test")
	if !event.IsUnknown(err) || !strings.Contains(fmt.Sprint(err), "not known") {
		t.Errorf("told: %v", err)
	}
	if count := strings.Count(told.String(), "waiting for it"); count < 2 {
		t.Errorf("cried for the server %d times", count)
	}
	cable.open()
	if !newIsLive(t, lock) {
		t.Error("the old one is live")
	}
}

func TestASwapBackThatFailsSaysThatTheNewOneIsLive(t *testing.T) {
	lock, cable, _ := ready(t)
	kept, err := Swap(context.Background(), lock, "incoming", true, "a test")
	if err != nil {
		t.Fatal(err)
	}
	cable.cutAt("rename to", false, false)
	if _, err = Back(context.Background(), lock, kept); err == nil || !strings.Contains(err.Error(), "the new wepppy is live now") {
		t.Errorf("told: %v", err)
	}
	if !newIsLive(t, lock) {
		t.Error("the old one is live")
	}
	if _, err = Back(context.Background(), lock, kept); err != nil {
		t.Errorf("with a lost session, too, it goes back: %v", err)
	}
}

func TestTheHealthCheckIsNoStrangerAndAForgottenSessionIs(t *testing.T) {
	lock, _, _ := ready(t)
	ctx := context.Background()
	session := servertest.Session(t, lock.Server, lock.Live)
	for name, refused := range map[string]bool{healthCheck: false, postgres.ApplicationName: false, "psql": true} {
		if _, err := session.Exec(ctx, "set application_name = "+postgres.Literal(name)); err != nil {
			t.Fatal(err)
		}
		if err := RefuseStrangers(ctx, lock, false); (err != nil) != refused {
			t.Errorf("%s: %v", name, err)
		}
	}
}
