package postgres

import (
	"github.com/jackc/pgpassfile"
)

// password is what the password file says for this server; empty where it says nothing (peer, trust).
func (s Server) password(database string) string {
	if s.Passfile == "" {
		return ""
	}
	file, err := pgpassfile.ReadPassfile(s.Passfile)
	if err != nil {
		return ""
	}
	host := s.Host
	if len(host) > 0 && host[0] == '/' {
		host = "localhost" // libpq's rule for sockets
	}
	return file.FindPassword(host, s.Port, database, s.User)
}
