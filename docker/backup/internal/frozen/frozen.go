// Package frozen owns the way that pg_restore takes to a server so that the rows it loads come frozen: nobody who reads
// them later, be it the building of an index, has to note in each row that it is there, which with checksums sends every
// page through the log and to disk again. pg_restore has no option for it; so what it says is passed on by a door of ours,
// which adds the word (https://www.postgresql.org/docs/current/sql-copy.html, FREEZE) where the server takes it.
package frozen

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"os"

	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sys/unix"

	"wepp.example/backup/internal/door"
	"wepp.example/backup/internal/postgres"
)

// prefix makes a socket's name one that is no file: a process that is killed leaves none.
const prefix = "@wepp-load-"

// OldestMajor whose pg_restore finds such a socket; in the backup service's image it is the server's own.
const OldestMajor = 14

// Way is open to the programs of this user until it is closed.
type Way struct {
	Server   postgres.Server // to bind those programs to
	listener *net.UnixListener
}

// Open opens a way to the server. The context bounds the log-ins on it, not what is underway.
func Open(ctx context.Context, server postgres.Server) (*Way, error) {
	folder := prefix + rand.Text()
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: folder + "/" + door.SocketName, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("a socket for pg_restore: %w", err)
	}
	through := server
	through.Host, through.Port = folder, door.SocketPort
	way := &Way{Server: through, listener: listener}
	leads := door.Door{Host: server.Host, Port: server.Port, Inward: inward, Login: func(ctx context.Context, _, database string, parameters map[string]string) (*pgconn.PgConn, error) {
		return login(ctx, server, database, parameters)
	}}
	go way.serve(ctx, leads)
	return way, nil
}

// Close ends it; whoever is underway stays so.
func (w *Way) Close() {
	w.listener.Close() //nolint:errcheck,gosec // nobody else has it
}

func (w *Way) serve(ctx context.Context, leads door.Door) {
	// Whoever comes when nobody opens any more shall be refused, and not wait.
	defer w.Close()
	for {
		client, err := w.listener.AcceptUnix()
		if err != nil {
			return
		}
		go func() {
			defer client.Close()
			if from(client, os.Getuid()) {
				leads.Pass(ctx, client)
			}
		}()
	}
}

// from tells whether a program of that user has come: a socket that is no file has no mode that would keep others out.
func from(client *net.UnixConn, user int) bool {
	raw, err := client.SyscallConn()
	if err != nil {
		return false
	}
	var peer *unix.Ucred
	failed := raw.Control(func(socket uintptr) {
		peer, err = unix.GetsockoptUcred(int(socket), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	return failed == nil && err == nil && int(peer.Uid) == user
}

// login is what libpq does for a program that goes to the server by itself.
func login(ctx context.Context, server postgres.Server, database string, parameters map[string]string) (*pgconn.PgConn, error) {
	config, err := server.Config(database)
	if err != nil {
		return nil, err
	}
	config.AfterConnect = nil
	config.RuntimeParams = parameters
	return pgconn.ConnectConfig(ctx, &config.Config)
}
