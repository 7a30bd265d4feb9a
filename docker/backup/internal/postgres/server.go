// Package postgres owns the connection to a server and the questions this program asks of one: which databases there
// are, who is connected, what a database holds.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"wepp.example/backup/internal/child"
	"wepp.example/backup/internal/event"
)

// ApplicationName tells our sessions from the application's and from strangers'.
const ApplicationName = "wepp-backup"

// Server is a place that databases are at. The password comes from Passfile (libpq's format), never from an argument.
type Server struct {
	Host, Port, User string // Host may be the folder of a socket
	Passfile         string
}

// parameters under which every session of ours reads and writes: text that means the same on both sides of a comparison
// (extra_float_digits 1 is the shortest exact form), and no limit of the server's on our patience.
var parameters = map[string]string{
	"application_name":                    ApplicationName,
	"client_encoding":                     "UTF8",
	"DateStyle":                           "ISO, YMD",
	"IntervalStyle":                       "postgres",
	"TimeZone":                            "UTC",
	"extra_float_digits":                  "1",
	"bytea_output":                        "hex",
	"lc_monetary":                         "C",
	"search_path":                         "pg_catalog",
	"statement_timeout":                   "0",
	"lock_timeout":                        "0",
	"idle_in_transaction_session_timeout": "0",
}

// Connect opens one session. Refuses with the reason when the server does not let us in.
func (s Server) Connect(ctx context.Context, database string) (*pgx.Conn, error) {
	config, err := s.Config(database)
	if err != nil {
		return nil, err
	}
	session, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, s.Refused(database, err)
	}
	return session, nil
}

// Config is what Connect uses, for callers that need a session of another sort.
func (s Server) Config(database string) (*pgx.ConnConfig, error) {
	// The connection string carries nothing; each part is set by itself, so no quoting can go wrong.
	config, err := pgx.ParseConfig("connect_timeout=15")
	if err != nil {
		return nil, fmt.Errorf("settings of the connection: %w", err)
	}
	port, err := strconv.ParseUint(s.Port, 10, 16)
	if err != nil {
		return nil, event.Usage("give a number from 1 to 65535", "%q is not a port", s.Port)
	}
	password := s.password(database)
	config.Host, config.Port, config.User, config.Database = s.Host, uint16(port), s.User, database
	config.Password = password
	for i := range config.Fallbacks {
		config.Fallbacks[i].Host, config.Fallbacks[i].Port = s.Host, uint16(port)
	}
	if config.TLSConfig != nil {
		config.TLSConfig.ServerName = s.Host
	}
	if strings.HasPrefix(s.Host, "/") {
		config.TLSConfig, config.Fallbacks = nil, nil
	}
	config.RuntimeParams = map[string]string{}
	for name, value := range parameters {
		config.RuntimeParams[name] = value
	}
	config.AfterConnect = unlimited
	// Simple, described queries: nothing is prepared that outlives a renamed database.
	config.DefaultQueryExecMode = pgx.QueryExecModeExec
	return config, nil
}

// unlimited takes away the limits that only newer servers have (idle_session_timeout from 14, transaction_timeout from 17):
// older ones refuse a session that names them at its start. Sessions that hold a moment, a slot or a lock are idle for long.
func unlimited(ctx context.Context, session *pgconn.PgConn) error {
	_, err := session.Exec(ctx, `select set_config(name, '0', false) from pg_settings
		where name in ('idle_session_timeout', 'transaction_timeout') and setting <> '0'`).ReadAll()
	return err
}

// Command is one of Postgres' client programs, bound for this server by its environment.
func (s Server) Command(ctx context.Context, program string, args ...string) *exec.Cmd {
	command := child.Command(ctx, program, args...)
	command.Env = append(os.Environ(),
		"PGHOST="+s.Host, "PGPORT="+s.Port, "PGUSER="+s.User, "PGPASSFILE="+s.Passfile, "PGAPPNAME="+ApplicationName)
	return command
}

// Maintenance is a database to connect to while `database` itself is renamed or dropped.
func Maintenance(database string) string {
	if database == "postgres" {
		return "template1"
	}
	return "postgres"
}

// Quote makes a name an identifier of SQL.
func Quote(name string) string { return pgx.Identifier{name}.Sanitize() }

// Conninfo names a database for client programs; a bare name with `=` or a scheme in it would be read as something else.
func Conninfo(database string) string { return Parameter("dbname", database) }

// Parameter is one `name='value'` of libpq's connection strings.
func Parameter(name, value string) string {
	return name + "='" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(value) + "'"
}

// Literal makes a text a literal of SQL, for statements that take no parameters.
func Literal(text string) string {
	quoted := strings.ReplaceAll(text, "'", "''")
	if strings.Contains(quoted, `\`) {
		return " E'" + strings.ReplaceAll(quoted, `\`, `\\`) + "'"
	}
	return "'" + quoted + "'"
}

// Strings collects the one text column of a query.
func Strings(ctx context.Context, session *pgx.Conn, query string, args ...any) ([]string, error) {
	rows, err := session.Query(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("asking the server: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// Mend is what to do about a server that lets nobody in, whoever it is.
func Mend(answer *pgconn.PgError) string {
	switch answer.Code {
	case "53300":
		return "end sessions there (pg_stat_activity), or raise its max_connections"
	case "57P03":
		return "the server is starting or stopping; run this again in a moment"
	}
	return "see the server's log"
}

// Refused says why nobody gets in, and what to do about it.
func (s Server) Refused(database string, err error) error {
	var problem *event.Problem
	if errors.As(err, &problem) {
		return err // it was not asked
	}
	where := fmt.Sprintf("%s:%s as %s", s.Host, s.Port, s.User)
	var answer *pgconn.PgError
	if errors.As(err, &answer) {
		mend := Mend(answer)
		switch {
		case strings.Contains(answer.Message, "pg_hba.conf"): // also in a translated message
			mend = "add a line for this to the server's pg_hba.conf, or ask by another way (TLS, another user or database)"
		case answer.Code == "28P01", answer.Code == "28000":
			return event.Refuse("correct the user or the password: for the stack it stands in .env, for another server in its password file",
				"the server at %s refuses the login: %s", where, answer.Message)
		case answer.Code == "3D000":
			return event.Refuse("name a database that exists there", "the server at %s has no database %q", where, database)
		}
		return event.Refuse(mend, "the server at %s refuses: %s", where, answer.Message)
	}
	return event.Refuse("start the server, or correct host and port", "no server answers at %s: %s", where, Plain(err))
}

// Plain is the innermost reason, on one line and without the connection string that pgx puts in front.
func Plain(err error) string {
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return strings.Join(strings.Fields(err.Error()), " ")
}
