// Package door owns how a client of Postgres that comes through a socket of ours meets a server: we log in for it, and
// what the two say to each other is passed on. The client names a user and a database but never a password.
// Protocol: https://www.postgresql.org/docs/current/protocol-flow.html (start-up, cancelling requests in progress).
package door

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"wepp.example/backup/internal/postgres"
)

// SocketPort is the port of our sockets, which are files of that name in the folder that a client takes for a host.
const SocketName, SocketPort = socketPrefix + SocketPort, "5432"

const socketPrefix = ".s.PGSQL."

// LoginPatience is how long the server may take to let one connection in.
const LoginPatience = 15 * time.Second

// Door leads to one server.
type Door struct {
	Host, Port string // of the server; the host may be the folder of its socket
	// Login opens a session for a client that names a user, a database and these parameters besides.
	Login func(ctx context.Context, user, database string, parameters map[string]string) (*pgconn.PgConn, error)
	// Inward passes on what a client says until it ends, or returns why the server hears no more; io.Copy where it is nil.
	Inward func(server io.Writer, client io.Reader) error
}

// Pass passes one connection on, from its first message until one side ends. The context bounds its log-in alone.
func (d Door) Pass(ctx context.Context, client net.Conn) {
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
			d.cancel(message)
			return
		case *pgproto3.StartupMessage:
			server, err := d.login(ctx, message.Parameters)
			if err != nil {
				backend.Send(complaint(err))
				backend.Flush() //nolint:errcheck // the client has left
				return
			}
			defer server.Conn.Close()
			d.join(client, backend, server)
			return
		}
	}
}

// login gives the bare connection of a session that is ours.
func (d Door) login(ctx context.Context, parameters map[string]string) (*pgconn.HijackedConn, error) {
	limited, done := context.WithTimeout(ctx, LoginPatience)
	defer done()
	user, database := parameters["user"], parameters["database"]
	delete(parameters, "user")
	delete(parameters, "database")
	session, err := d.Login(limited, user, database, parameters)
	if err != nil {
		return nil, err
	}
	// pgx may be reading still, in the background, and would take what the server says next for itself.
	if err := session.SyncConn(limited); err != nil {
		session.Close(limited) //nolint:errcheck,gosec // it is of no use
		return nil, err
	}
	server, err := session.Hijack()
	if err != nil {
		session.Close(limited) //nolint:errcheck,gosec // it is of no use
	}
	return server, err
}

// join tells the client that it is logged in and copies both ways until one side ends.
func (d Door) join(client net.Conn, backend *pgproto3.Backend, server *pgconn.HijackedConn) {
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
	inward := d.Inward
	if inward == nil {
		inward = copyAll
	}
	ended := make(chan struct{}, 2)
	go func() {
		// A server that hears no more may have said why: its last words are passed on until it ends.
		if inward(server.Conn, client) == nil {
			ended <- struct{}{}
		}
	}()
	go func() {
		pour(client, server.Conn)
		ended <- struct{}{}
	}()
	<-ended
}

// copyAll passes on what a client says, as Door.Inward.
func copyAll(server io.Writer, client io.Reader) error {
	heard := &writer{Writer: server}
	io.Copy(heard, client) //nolint:errcheck,gosec // the client may end at any time
	return heard.failed
}

// writer remembers why it could not write.
type writer struct {
	io.Writer
	failed error
}

func (w *writer) Write(text []byte) (int, error) {
	count, err := w.Writer.Write(text)
	w.failed = err
	return count, err
}

// cancel passes on the wish that a running statement be stopped, above all when what the client does for us is called off:
// no context ends it. Servers take it without log-in or TLS.
func (d Door) cancel(wish *pgproto3.CancelRequest) {
	network, address := "tcp", net.JoinHostPort(d.Host, d.Port)
	if strings.HasPrefix(d.Host, "/") {
		network, address = "unix", filepath.Join(d.Host, socketPrefix+d.Port)
	}
	server, err := net.DialTimeout(network, address, LoginPatience)
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

// complaint is why the server let nobody in, in the protocol's own form.
func complaint(err error) *pgproto3.ErrorResponse {
	var answer *pgconn.PgError
	if errors.As(err, &answer) {
		return &pgproto3.ErrorResponse{
			Severity: answer.Severity, SeverityUnlocalized: answer.SeverityUnlocalized,
			Code: answer.Code, Message: answer.Message, Detail: answer.Detail, Hint: answer.Hint,
		}
	}
	const connectionFailure = "08006"
	return &pgproto3.ErrorResponse{Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: connectionFailure, Message: postgres.Plain(err)}
}
