// Package relay owns the way to a server that only the host can reach: it listens on a Unix socket that containers
// share and passes each connection on to that server, wherever it listens (TCP, with TLS where offered, or a socket).
//
// It logs in itself. Whoever comes through the socket names a user and a database but never a password, so the password
// of the source is known to this one process: it stands in no other container, no argument and no subscription.
package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"wepp.example/backup/internal/door"
	"wepp.example/backup/internal/event"
	"wepp.example/backup/internal/postgres"
)

// Prefix of the folders that relays make in the shared volume.
const Prefix = "wepp-relay-"

// askAgain is the pause before a server that is starting is asked again.
const askAgain = 200 * time.Millisecond

// Relay passes connections on to one server.
type Relay struct {
	Host, Port string // of the source; the host may be the folder of its socket
	Password   string // for every user; empty where none is asked for

	mutex sync.Mutex
	open  int
	idle  time.Time // since when no connection is open
}

// Listen makes the socket in `folder` for everybody who has the folder, after removing what relays that died left beside it.
func Listen(folder string) (net.Listener, error) {
	sweep(filepath.Dir(folder))
	if err := os.Mkdir(folder, 0o755); err != nil {
		return nil, fmt.Errorf("the relay's folder: %w", err)
	}
	// Another user's relay must be able to remove it; umask would narrow the mode of Mkdir.
	if err := os.Chmod(folder, 0o777); err != nil {
		return nil, fmt.Errorf("the relay's folder: %w", err)
	}
	listener, err := net.Listen("unix", filepath.Join(folder, door.SocketName))
	if err != nil {
		return nil, fmt.Errorf("the relay's socket: %w", err)
	}
	if err := os.Chmod(filepath.Join(folder, door.SocketName), 0o777); err != nil {
		return nil, fmt.Errorf("the relay's socket: %w", err)
	}
	return listener, nil
}

// sweep removes folders of relays that no longer listen.
func sweep(parent string) {
	folders, _ := filepath.Glob(filepath.Join(parent, Prefix+"*"))
	for _, folder := range folders {
		socket := filepath.Join(folder, door.SocketName)
		asked, err := net.Dial("unix", socket)
		if err == nil {
			asked.Close()
			continue
		}
		// A relay that is just being born has no socket yet; one that has died has one that refuses.
		about, missing := os.Stat(folder)
		if errors.Is(err, syscall.ECONNREFUSED) || missing == nil && time.Since(about.ModTime()) > time.Minute {
			os.RemoveAll(folder)
		}
	}
}

// Serve passes connections on until the listener is closed or the context ends.
func (r *Relay) Serve(ctx context.Context, listener net.Listener) {
	r.mutex.Lock()
	r.idle = time.Now()
	r.mutex.Unlock()
	stop := context.AfterFunc(ctx, func() { listener.Close() })
	defer stop()
	leads := door.Door{Host: r.Host, Port: r.Port, Login: r.login}
	for {
		client, err := listener.Accept()
		if err != nil {
			return
		}
		r.count(+1)
		go func() {
			defer r.count(-1)
			defer client.Close()
			leads.Pass(ctx, client)
		}()
	}
}

// Idle is how long no connection has been open; 0 while one is.
func (r *Relay) Idle() time.Duration {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if r.open > 0 {
		return 0
	}
	return time.Since(r.idle)
}

func (r *Relay) count(change int) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.open += change
	r.idle = time.Now()
}

// Try logs in once, so that a wrong password or host is told before anything else is begun. A server that does not
// answer, or is only starting, is asked again for as long as patience lasts.
func (r *Relay) Try(ctx context.Context, user, database string, patience time.Duration) error {
	for end := time.Now().Add(patience); ; time.Sleep(askAgain) {
		limited, done := context.WithTimeout(ctx, door.LoginPatience)
		session, err := r.login(limited, user, database, map[string]string{})
		done()
		if err == nil {
			return session.Close(ctx)
		}
		var answer *pgconn.PgError
		starting := !errors.As(err, &answer) || answer.Code == "57P03"
		if !starting || ctx.Err() != nil || time.Now().After(end) {
			return refused(r.Host, r.Port, user, err)
		}
	}
}

func (r *Relay) login(ctx context.Context, user, database string, parameters map[string]string) (*pgconn.PgConn, error) {
	// The connection string carries nothing; each part is set by itself, so no quoting can go wrong.
	config, err := pgconn.ParseConfig("sslmode=prefer")
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(r.Port, 10, 16)
	if err != nil {
		return nil, event.Usage("give a number from 1 to 65535", "%q is not a port", r.Port)
	}
	config.Host, config.Port, config.Password = r.Host, uint16(port), r.Password
	for i := range config.Fallbacks {
		config.Fallbacks[i].Host, config.Fallbacks[i].Port = r.Host, uint16(port)
	}
	if strings.HasPrefix(r.Host, "/") {
		config.TLSConfig, config.Fallbacks = nil, nil
	}
	config.User, config.Database, config.RuntimeParams = user, database, parameters
	return pgconn.ConnectConfig(ctx, config)
}

// refused says why nobody gets in and what to do about it.
func refused(host, port, user string, err error) error {
	where := fmt.Sprintf("%s port %s as %s", host, port, user)
	var answer *pgconn.PgError
	if !errors.As(err, &answer) {
		return event.Refuse("start the server, or correct --host, --port and --socket-dir", "no server answers at %s: %s", where, postgres.Plain(err))
	}
	mend := postgres.Mend(answer)
	switch {
	case answer.Code == "28P01":
		mend = "correct --user, or the password in the file that --password-file names"
	case answer.Code == "28000" && strings.Contains(strings.ToLower(answer.Message), "peer"):
		mend = "peer authentication wants an account of this machine with the database user's name; add one, or use --host=localhost with --password-file"
	case strings.Contains(answer.Message, "pg_hba.conf"): // also in a translated message
		mend = "the server's pg_hba.conf has no line for this; add one, or use another --host, --socket-dir or --user"
	case answer.Code == "28000":
		mend = "use another --user, or mend that role (it has to be there and may log in); see the server's log"
	case answer.Code == "3D000":
		mend = "name a database that exists there: --dbname"
	}
	return event.Refuse(mend, "the server at %s refuses: %s", where, answer.Message)
}
