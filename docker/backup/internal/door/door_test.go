package door

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// listen gives a socket in a folder of its own, whose path is short enough for one.
func listen(t *testing.T) (net.Listener, string) {
	t.Helper()
	folder, err := os.MkdirTemp("", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	listener, err := net.Listen("unix", filepath.Join(folder, SocketName))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return listener, folder
}

// letIn has the listener's next client logged in by what looks like a server, which then says what `then` does.
func letIn(t *testing.T, listener net.Listener, then func(net.Conn, *pgproto3.Backend)) {
	t.Helper()
	go func() {
		client, err := listener.Accept()
		if err != nil {
			return
		}
		defer client.Close()
		backend := pgproto3.NewBackend(client, client)
		if _, err := backend.ReceiveStartupMessage(); err != nil {
			t.Error(err)
			return
		}
		backend.Send(&pgproto3.AuthenticationOk{})
		backend.Send(&pgproto3.BackendKeyData{ProcessID: 7, SecretKey: 11})
		backend.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
		backend.Flush()
		then(client, backend)
	}()
}

func open(folder string) Door {
	return Door{Host: folder, Port: SocketPort, Login: func(ctx context.Context, _, _ string, _ map[string]string) (*pgconn.PgConn, error) {
		return pgconn.Connect(ctx, "host="+folder+" port="+SocketPort+" user=somebody dbname=something")
	}}
}

// enter comes through the door and returns the client's side when it is logged in.
func enter(t *testing.T, ctx context.Context, leads Door) net.Conn {
	t.Helper()
	ours, _ := listen(t)
	go func() {
		client, err := ours.Accept()
		if err != nil {
			return
		}
		defer client.Close()
		leads.Pass(ctx, client)
	}()
	client, err := net.Dial("unix", ours.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	frontend := pgproto3.NewFrontend(client, client)
	frontend.Send(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersionNumber, Parameters: map[string]string{"user": "somebody"}})
	if err := frontend.Flush(); err != nil {
		t.Fatal(err)
	}
	for {
		message, err := frontend.Receive()
		if err != nil {
			t.Fatal(err)
		}
		if _, ready := message.(*pgproto3.ReadyForQuery); ready {
			return client
		}
	}
}

func TestTheLastWordsOfAServerThatDoesNotListenAnyMoreAreHeard(t *testing.T) {
	words := []byte("the disk is full")
	for range 100 {
		listener, folder := listen(t)
		letIn(t, listener, func(client net.Conn, backend *pgproto3.Backend) {
			io.ReadFull(client, make([]byte, 10)) //nolint:errcheck // it has heard enough
			backend.Send(&pgproto3.ErrorResponse{Severity: "PANIC", Message: string(words)})
			backend.Flush()
		})
		client := enter(t, context.Background(), open(folder))
		go func() {
			for rows := make([]byte, 100_000); ; {
				if _, err := client.Write(rows); err != nil {
					return
				}
			}
		}()
		if heard, _ := io.ReadAll(client); !bytes.Contains(heard, words) {
			t.Fatalf("heard %q", heard)
		}
	}
}

func TestAWishToCancelIsPassedOnEvenWhenTheWorkIsCalledOff(t *testing.T) {
	server, folder := listen(t)
	heard := make(chan []byte, 1)
	go func() {
		defer close(heard)
		client, err := server.Accept()
		if err != nil {
			return
		}
		defer client.Close()
		wish := make([]byte, 16)
		io.ReadFull(client, wish) //nolint:errcheck // what was read is looked at
		heard <- wish
	}()
	ctx, callOff := context.WithCancel(context.Background())
	callOff()
	wish := binary.BigEndian.AppendUint32(nil, 16)
	wish = binary.BigEndian.AppendUint32(wish, 80877102)
	wish = binary.BigEndian.AppendUint64(wish, 7<<32|11)
	client, theirs := net.Pipe()
	go func() {
		client.Write(wish)
		client.Close()
	}()
	open(folder).Pass(ctx, theirs)
	server.Close()
	if got := <-heard; !bytes.Equal(got, wish) {
		t.Errorf("% x", got)
	}
}
