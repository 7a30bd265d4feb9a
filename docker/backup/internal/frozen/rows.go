package frozen

import (
	"bytes"
	"encoding/binary"
	"io"
)

const (
	// page is read at once, and longer than any statement that is to be understood: one that names 1600 columns.
	page = 256 << 10
	// A message of the protocol: a letter, and four bytes of length that count themselves.
	headBytes, lengthAt = 5, 1
	query               = 'Q'
)

var (
	truncates = []byte("TRUNCATE TABLE ONLY ")
	copies    = []byte("COPY ")
	fromInput = []byte(" FROM stdin;")
	freezes   = []byte(" FROM stdin WITH (FREEZE);")
	ending    = " \r\n\x00"
)

// statements is what one client has said so far.
type statements struct {
	emptied []byte // the table that its last statement emptied; nil for any other statement
}

// inward passes on what pg_restore says to a server, and has it say FREEZE where it may; see Door.Inward.
//
// It is passed on at once, but for a statement whose end has not come yet: that has to be whole to be understood.
func inward(server io.Writer, client io.Reader) error {
	var said statements
	held := make([]byte, page)
	count, beyond := 0, 0 // bytes held; bytes still to come of a message that is passed on in parts
	for {
		more, err := client.Read(held[count:])
		count += more
		done, failed := 0, error(nil)
		if done, beyond, failed = said.pass(server, held[:count], beyond); failed != nil {
			return failed
		}
		count = copy(held, held[done:count])
		if err != nil {
			return nil
		}
	}
}

// pass passes on what of `text` can be, and returns how much that was, and how much of its last message is still to come.
func (s *statements) pass(server io.Writer, text []byte, beyond int) (done, left int, err error) {
	at := min(beyond, len(text))
	left = beyond - at
	for left == 0 && len(text)-at >= headBytes {
		size := 1 + int(binary.BigEndian.Uint32(text[at+lengthAt:]))
		if text[at] != query || size < headBytes || size > page {
			if text[at] == query {
				s.emptied = nil
			}
			step := min(size, len(text)-at)
			at, left = at+step, size-step
			continue
		}
		if len(text)-at < size {
			break // the rest of this statement comes
		}
		statement := text[at+headBytes : at+size]
		said := s.said(statement)
		if len(said) != len(statement) {
			if _, err := server.Write(text[done:at]); err != nil {
				return done, 0, err
			}
			message := binary.BigEndian.AppendUint32([]byte{query}, uint32(len(said)+headBytes-1))
			if _, err := server.Write(append(message, said...)); err != nil {
				return done, 0, err
			}
			done = at + size
		}
		at += size
	}
	if done < at {
		_, err = server.Write(text[done:at])
	}
	return at, left, err
}

// said is the statement as the server shall hear it. In what pg_restore says, the rows of a table that it has just emptied
// come right after, in one transaction, which is when a server takes them frozen. Where rows come in at a partitioned
// table, or into one that was there before, pg_restore empties none.
func (s *statements) said(statement []byte) []byte {
	emptied := s.emptied
	s.emptied = nil
	text := bytes.TrimRight(statement, ending)
	if name, is := bytes.CutPrefix(text, truncates); is && bytes.HasSuffix(name, []byte(";")) {
		s.emptied = bytes.Clone(name[:len(name)-1])
		return statement
	}
	rest, is := bytes.CutPrefix(text, copies)
	if emptied == nil || !is || !bytes.HasPrefix(rest, append(emptied, ' ')) || !bytes.HasSuffix(rest, fromInput) {
		return statement
	}
	frozen := bytes.Clone(text[:len(text)-len(fromInput)])
	return append(append(frozen, freezes...), statement[len(text):]...)
}
