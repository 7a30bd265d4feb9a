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

// SocketName is the file that clients of Postgres look for in a folder given as host, with that port.
const SocketName, SocketPort = ".s.PGSQL." + SocketPort, "5432"

// LoginSeconds is how long the server may take to let one connection in.
const LoginSeconds = 15 * time.Second

// Door leads to one server.
type Door struct {
	Host, Port string // of the server; the host may be the folder of its socket
	// Login lets somebody in who names these parameters, a user and a database among them, or gives up in time.
	Login func(ctx context.Context, parameters map[string]string) (*pgconn.PgConn, error)
	// Inward passes on what a client says until either side ends; everything, just as it is said, where it is nil.
	Inward func(server io.Writer, client io.Reader)
}

// Pass passes one connection on, from its first message until one side ends.
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
			d.cancel(ctx, message)
			return
		case *pgproto3.StartupMessage:
			session, err := d.Login(ctx, message.Parameters)
			if err != nil {
				backend.Send(complaint(err))
				backend.Flush() //nolint:errcheck // the client has left
				return
			}
			d.join(client, backend, session)
			return
		}
	}
}

// join tells the client that it is logged in and copies both ways until one side ends.
func (d Door) join(client net.Conn, backend *pgproto3.Backend, session *pgconn.PgConn) {
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
		if d.Inward != nil {
			d.Inward(server.Conn, client)
		} else {
			io.Copy(server.Conn, client) //nolint:errcheck // either side may end at any time
		}
		ended <- struct{}{}
	}()
	go func() {
		pour(client, server.Conn)
		ended <- struct{}{}
	}()
	<-ended
}

// cancel passes on the wish that a running statement be stopped. Servers take it without log-in or TLS.
func (d Door) cancel(ctx context.Context, wish *pgproto3.CancelRequest) {
	network, address := "tcp", net.JoinHostPort(d.Host, d.Port)
	if strings.HasPrefix(d.Host, "/") {
		network, address = "unix", filepath.Join(d.Host, ".s.PGSQL."+d.Port)
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
