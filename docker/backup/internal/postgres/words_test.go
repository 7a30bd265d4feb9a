package postgres_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"wepp.example/backup/internal/event"
	"wepp.example/backup/internal/postgres"
)

func TestAServersOwnTroubleIsToldFromWhatItWasAskedToDo(t *testing.T) {
	for told, words := range map[string]string{
		"pg_restore: error: could not execute query: ERROR:  could not extend file \"base/1/2\": No space left on device\nHINT:  Check free disk space.\n":                                        "the server's disk is full: could not extend file",
		"pg_restore: error: could not execute query: ERROR:  could not extend file \"base/1/2\": wrote only 4096 of 8192 bytes at block 14\n":                                                     "the server's disk is full: could not extend file \"base/1/2\": wrote only 4096",
		"psql:<stdin>:7: ERROR:  could not write to file \"base/pgsql_tmp/1\": Disk quota exceeded\n":                                                                                             "the server's disk is full",
		"pg_restore: error: could not execute query: ERROR:  could not resize shared memory segment \"/PostgreSQL.1\" to 16 bytes: No space left on device":                                       "the server's shared memory is full",
		"pg_restore: error: could not execute query: server closed the connection unexpectedly\n\tThis probably means":                                                                            "the server went away, or lets nobody in any more: could not execute query",
		"pg_restore: error: could not execute query: SSL SYSCALL error: EOF detected\n":                                                                                                           "the server went away",
		"vacuumdb: error: connection to server at \"db\" failed: FATAL:  sorry, too many clients already\n":                                                                                       "lets nobody in any more: sorry, too many clients",
		"pg_restore: error: could not execute query: ERROR:  out of memory\nDETAIL:  Failed on request of size 8.\n":                                                                              "the server could not go on: out of memory",
		"pg_restore: error: COPY failed for table \"run\": ERROR:  canceling statement due to user request\n":                                                                                     "the server could not go on: canceling",
		"pg_restore: error: could not execute query: ERROR:  could not read block 3 in file \"base/1/2\": Input/output error\n":                                                                   "the server could not go on: could not read block 3",
		"pg_dump: error: Dumping the contents of table \"run\" failed: PQgetResult() failed.\npg_dump: detail: Error message from server: ERROR:  invalid page in block 0 of relation base/1/2\n": "the server could not go on: Dumping the contents of table \"run\" failed: PQgetResult() failed: invalid page",
	} {
		err := postgres.Trouble(told)
		if err == nil || !strings.Contains(err.Error(), words) || event.ProblemOf(err).Exit != event.ExitFailed {
			t.Errorf("%s: %v", told, err)
		}
	}
	for _, told := range []string{
		"",
		"pg_restore: error: could not execute query: ERROR:  could not create unique index \"one\"\nDETAIL:  Key (id)=(1) is duplicated.\n",
		"pg_restore: error: could not execute query: ERROR:  type \"no\" does not exist\nCommand was: CREATE FUNCTION x() AS 'RAISE ''server closed the connection, disk full'''\n",
		"pg_restore: error: COPY failed for table \"log\": ERROR:  invalid input syntax for type integer\nCONTEXT:  COPY log, line 5, column n: \"connection refused\"\n",
		"pg_restore: error: COPY failed for table \"log\": ERROR:  invalid input syntax for type integer: \"connection refused\"\n",
		"pg_restore: error: COPY failed for table \"connection to server\": ERROR:  duplicate key value\n",
		"pg_restore: error: could not execute query: ERROR:  invalid input value for enum state: \"starting up\"\n",
		"pg_restore: error: could not execute query: ERROR:  no\nCommand was: CREATE FUNCTION f() AS '\npg_notify(''x'', ''server closed the connection'')'\n",
		"psql:<stdin>:3: ERROR:  quota exceeded for project 7\n",
		"psql:<stdin>:3: ERROR:  no\n  psql: error: connection to server at x failed\n",
		"psql:<stdin>:3: WARNING:  No space left on device\npsql:<stdin>:4: ERROR:  no\n",
		"pg_restore: error: could not read from input file: Input/output error\n",
		"pg_restore: error: out of memory\n",
		"psql:<stdin>:3: ERROR:  syntax error at or near \"of\"\nLINE 1: out of memory, No space left on device\n",
	} {
		if err := postgres.Trouble(told); err != nil {
			t.Errorf("%s: %v", told, err)
		}
	}
}

func TestTheFirstErrorOfAProgramIsToldWithTheServersWords(t *testing.T) {
	for told, words := range map[string]string{
		"pg_restore: connecting\npg_restore: error: could not execute query: ERROR:  no\npg_restore: error: later\n":                                         "no",
		"pg_dump: error: Dumping the contents of table \"a\" failed: PQgetResult() failed.\npg_dump: detail: Error message from server: ERROR:  why\nmore\n": "Dumping the contents of table \"a\" failed: PQgetResult() failed: why",
		"psql:<stdin>:9: ERROR:  invalid input syntax for type integer: \"fatal error: disk\"\n":                                                             "invalid input syntax for type integer: \"fatal error: disk\"",
		"psql:<stdin>:3: FEHLER:  Relation fehlt\nZEILE 1: x\n":                                                                                              "psql:<stdin>:3: FEHLER:  Relation fehlt",
		"\n": "",
	} {
		if got := postgres.FirstError(told); got != words {
			t.Errorf("%q, wanted %q", got, words)
		}
	}
}

func TestAFullDiskIsKnownByTheServersCode(t *testing.T) {
	for _, each := range []struct {
		code, message string
		full          bool
	}{
		{"53100", "Auf dem Gerät ist kein Speicherplatz mehr verfügbar", true},
		{"53100", "could not resize shared memory segment \"/PostgreSQL.1\" to 16 bytes: No space left on device", true},
		{"P0001", "quota exceeded, disk quota exceeded for project 7", false},
		{"", "", false},
		{"58030", "could not write: Disk quota exceeded", true},
		{"42P01", "relation does not exist", false},
	} {
		err := postgres.Full(fmt.Errorf("on the way: %w", &pgconn.PgError{Code: each.code, Message: each.message}))
		if (err != nil) != each.full {
			t.Errorf("%v: %v", each, err)
		}
	}
	if postgres.Full(errors.New("other")) != nil {
		t.Error("an error without a code is none of the server's")
	}
}

func TestWhyNobodyGetsInIsToldWithItsMend(t *testing.T) {
	server := postgres.Server{Host: "db", Port: "5432", User: "wepppy"}
	for words, answer := range map[string]*pgconn.PgError{
		"correct the user or the password": {Code: "28P01", Message: "password authentication failed"},
		"add a line for this":              {Code: "28000", Message: "kein pg_hba.conf-Eintrag für Host"},
		"raise its max_connections":        {Code: "53300", Message: "sorry, too many clients already"},
		"run this again in a moment":       {Code: "57P03", Message: "the database system is starting up"},
		"name a database that exists":      {Code: "3D000", Message: "no"},
	} {
		problem := event.ProblemOf(server.Refused("wepppy", answer))
		if !strings.Contains(problem.Mend, words) || problem.Exit != event.ExitRefused {
			t.Errorf("%s: %+v", words, problem)
		}
	}
}
