// Package relay owns the way to a server that only the host can reach: it listens on a Unix socket that containers
// share and passes each connection on to that server, wherever it listens (TCP, with TLS where offered, or a socket).
//
// It logs in itself. Whoever comes through the socket names a user and a database but never a password, so the password
// of the source is known to this one process: it stands in no other container, no argument and no subscription.
// Protocol: https://www.postgresql.org/docs/current/protocol-flow.html (start-up, cancelling requests in progress).
package relay

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"wepp.example/backup/internal/event"
	"wepp.example/backup/internal/postgres"
)

// SocketName is the file that clients of Postgres look for in a folder given as host, with port 5432.
const SocketName = ".s.PGSQL.5432"

// Prefix of the folders that relays make in the shared volume.
const Prefix = "wepp-relay-"

// LoginSeconds is how long the source may take to let one connection in.
const LoginSeconds = 15 * time.Second

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
	listener, err := net.Listen("unix", filepath.Join(folder, SocketName))
	if err != nil {
		return nil, fmt.Errorf("the relay's socket: %w", err)
	}
	if err := os.Chmod(filepath.Join(folder, SocketName), 0o777); err != nil {
		return nil, fmt.Errorf("the relay's socket: %w", err)
	}
	return listener, nil
}

// sweep removes folders of relays that no longer listen.
func sweep(parent string) {
	folders, _ := filepath.Glob(filepath.Join(parent, Prefix+"*"))
	for _, folder := range folders {
		socket := filepath.Join(folder, SocketName)
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
	for {
		client, err := listener.Accept()
		if err != nil {
			return
		}
		r.count(+1)
		go func() {
			defer r.count(-1)
			defer client.Close()
			r.connection(ctx, client)
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
		session, err := r.login(ctx, map[string]string{"user": user, "database": database})
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

func (r *Relay) connection(ctx context.Context, client net.Conn) {
	backend := pgproto3.NewBackend(client, client)
	for {
		message, err := backend.ReceiveStartupMessage()
		if err != nil {
			return
		}
		switch message := message.(type) {
		case *pgproto3.SSLRequest, *pgproto3.GSSEncRequest:
			// A socket needs no encryption.
			if _, err := client.Write([]byte{'N'}); err != nil {
				return
			}
		case *pgproto3.CancelRequest:
			r.cancel(ctx, message)
			return
		case *pgproto3.StartupMessage:
			session, err := r.login(ctx, message.Parameters)
			if err != nil {
				backend.Send(complaint(err))
				backend.Flush() //nolint:errcheck // the client has left
				return
			}
			join(client, backend, session)
			return
		}
	}
}

func (r *Relay) login(ctx context.Context, parameters map[string]string) (*pgconn.PgConn, error) {
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
	config.RuntimeParams = maps.Clone(parameters)
	config.User, config.Database = parameters["user"], parameters["database"]
	delete(config.RuntimeParams, "user")
	delete(config.RuntimeParams, "database")
	limited, done := context.WithTimeout(ctx, LoginSeconds)
	defer done()
	return pgconn.ConnectConfig(limited, config)
}

// join tells the client that it is logged in and copies both ways until one side ends.
func join(client net.Conn, backend *pgproto3.Backend, session *pgconn.PgConn) {
	server, err := session.Hijack()
	if err != nil {
		return
	}
	defer server.Conn.Close()
	backend.Send(&pgproto3.AuthenticationOk{})
	names := make([]string, 0, len(server.ParameterStatuses))
	for name := range server.ParameterStatuses {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		backend.Send(&pgproto3.ParameterStatus{Name: name, Value: server.ParameterStatuses[name]})
	}
	backend.Send(&pgproto3.BackendKeyData{ProcessID: server.PID, SecretKey: server.SecretKey})
	backend.Send(&pgproto3.ReadyForQuery{TxStatus: server.TxStatus})
	if backend.Flush() != nil {
		return
	}
	ended := make(chan struct{}, 2)
	go func() {
		io.Copy(server.Conn, client) //nolint:errcheck // either side may end at any time
		ended <- struct{}{}
	}()
	go func() {
		pour(client, server.Conn)
		ended <- struct{}{}
	}()
	<-ended
}

// cancel passes on the wish that a running statement be stopped. Servers take it without log-in or TLS.
func (r *Relay) cancel(ctx context.Context, wish *pgproto3.CancelRequest) {
	network, address := "tcp", net.JoinHostPort(r.Host, r.Port)
	if strings.HasPrefix(r.Host, "/") {
		network, address = "unix", filepath.Join(r.Host, ".s.PGSQL."+r.Port)
	}
	server, err := (&net.Dialer{Timeout: LoginSeconds}).DialContext(ctx, network, address)
	if err != nil {
		return
	}
	defer server.Close()
	const length, code = 16, 80877102
	message := binary.BigEndian.AppendUint32(nil, length)
	message = binary.BigEndian.AppendUint32(message, code)
	message = binary.BigEndian.AppendUint32(message, wish.ProcessID)
	message = binary.BigEndian.AppendUint32(message, wish.SecretKey)
	if _, err := server.Write(message); err == nil {
		io.Copy(io.Discard, server) //nolint:errcheck // the server closes when it has done so
	}
}

// complaint is why the source let nobody in, in the protocol's own form.
func complaint(err error) *pgproto3.ErrorResponse {
	var answer *pgconn.PgError
	if errors.As(err, &answer) {
		return &pgproto3.ErrorResponse{
			Severity: answer.Severity, SeverityUnlocalized: answer.SeverityUnlocalized,
			Code: answer.Code, Message: answer.Message, Detail: answer.Detail, Hint: answer.Hint,
		}
	}
	const connectionFailure = "08006"
	return &pgproto3.ErrorResponse{Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: connectionFailure, Message: plain(err)}
}

// refused says why nobody gets in and what to do about it.
func refused(host, port, user string, err error) error {
	where := fmt.Sprintf("%s port %s as %s", host, port, user)
	var answer *pgconn.PgError
	if !errors.As(err, &answer) {
		return event.Refuse("start the server, or correct --host, --port and --socket-dir", "no server answers at %s: %s", where, plain(err))
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

// plain is the innermost reason, without the connection string that pgconn puts in front.
func plain(err error) string {
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return strings.Join(strings.Fields(err.Error()), " ")
}
