package frozen

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand"
	"strings"
	"testing"
	"testing/iotest"
)

func message(kind byte, text string) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(text)+4)), text...)
}

func statement(text string) []byte { return message(query, text+"\x00") }

func said(messages ...[]byte) []byte { return bytes.Join(messages, nil) }

// heard is what a server hears of what is said, piece by piece.
func heard(t *testing.T, client io.Reader) []byte {
	t.Helper()
	var server bytes.Buffer
	if err := inward(&server, client); err != nil {
		t.Errorf("the client's end is no error: %v", err)
	}
	return server.Bytes()
}

func TestTheRowsOfATableThatWasJustEmptiedComeFrozenHoweverTheyAreCutIntoPieces(t *testing.T) {
	rows := message('d', "1\tTRUNCATE TABLE ONLY public.a;\n")
	around := [][]byte{
		said(statement("BEGIN"), statement("TRUNCATE TABLE ONLY public.\"a b\";\n\n")),
		said(rows, message('d', strings.Repeat("COPY x FROM stdin;\n", 40000)), message('c', ""), statement("COMMIT"), message('X', "")),
	}
	text := said(around[0], statement("COPY public.\"a b\" (id, \"from stdin;\") FROM stdin;\n"), around[1])
	wanted := said(around[0], statement("COPY public.\"a b\" (id, \"from stdin;\") FROM stdin WITH (FREEZE);\n"), around[1])
	for name, client := range map[string]io.Reader{
		"at once":          bytes.NewReader(text),
		"byte by byte":     iotest.OneByteReader(bytes.NewReader(text)),
		"by halves":        iotest.HalfReader(bytes.NewReader(text)),
		"end with the end": iotest.DataErrReader(bytes.NewReader(text)),
	} {
		if got := heard(t, client); !bytes.Equal(got, wanted) {
			t.Errorf("%s: %d bytes instead of %d", name, len(got), len(wanted))
		}
	}
}

func TestNothingElseThatIsSaidIsChanged(t *testing.T) {
	emptied := statement("TRUNCATE TABLE ONLY public.a;\n\n")
	for name, text := range map[string][]byte{
		"rows of a table that was not emptied": statement("COPY public.a (id) FROM stdin;\n"),
		"of another table":                     said(emptied, statement("COPY public.b (id) FROM stdin;\n")),
		"of one whose name begins alike":       said(emptied, statement("COPY public.ab (id) FROM stdin;\n")),
		"after a long one":                     said(emptied, statement("SELECT "+strings.Repeat(" ", page)), statement("COPY public.a (id) FROM stdin;\n")),
		"later":                                said(emptied, statement("SELECT 1"), statement("COPY public.a (id) FROM stdin;\n")),
		"twice":                                said(emptied, emptied, statement("COPY public.a (id) FROM stdin CSV;\n")),
		"in another way":                       said(emptied, statement("COPY public.a (id) TO stdout;\n")),
		"among other things":                   said(emptied, statement("INSERT INTO public.a VALUES ('COPY public.a FROM stdin;');\n")),
		"of more tables":                       said(statement("TRUNCATE TABLE ONLY public.a, public.b;"), statement("COPY public.a (id) FROM stdin;\n")),
		"with children":                        said(statement("TRUNCATE TABLE public.a;"), statement("COPY public.a (id) FROM stdin;\n")),
		"no statement's end":                   said(statement("TRUNCATE TABLE ONLY public.a"), statement("COPY public.a (id) FROM stdin;\n")),
		"by the extended protocol":             said(emptied, message('P', "\x00COPY public.a (id) FROM stdin;\n\x00\x00\x00")),
		"a statement longer than a page":       said(emptied, statement("COPY public.a ("+strings.Repeat("column, ", page/8)+"id) FROM stdin;\n")),
		"a message without a length":           said([]byte{query, 0, 0, 0, 0}, statement("SELECT 1")),
		"one with less than its own length":    said([]byte{query, 0, 0, 0, 3}, statement("SELECT 1")),
		"a statement without a word":           said([]byte{query, 0, 0, 0, 4}, statement("SELECT 1")),
		"nothing":                              nil,
	} {
		if got := heard(t, iotest.HalfReader(bytes.NewReader(text))); !bytes.Equal(got, text) {
			t.Errorf("%s: %.200q", name, got)
		}
	}
}

func TestWhatIsCutOffInItsMidstIsNotPassedOnAsAStatement(t *testing.T) {
	whole := said(statement("BEGIN"), statement("DROP TABLE public.a"))
	if got := heard(t, bytes.NewReader(whole[:len(whole)-3])); !bytes.Equal(got, statement("BEGIN")) {
		t.Errorf("%q", got)
	}
}

func TestALongSessionIsPassedOnInFullHoweverItIsCutIntoPieces(t *testing.T) {
	source := rand.New(rand.NewSource(1))
	var text, wanted []byte
	for range 2000 {
		rows := message('d', strings.Repeat("row ", source.Intn(40000)/(1+source.Intn(50))))
		switch source.Intn(4) {
		case 0:
			text = append(text, rows...)
			wanted = append(wanted, rows...)
		case 1:
			other := statement(strings.Repeat("SELECT 1; ", source.Intn(100)))
			text = append(text, other...)
			wanted = append(wanted, other...)
		default:
			empty := statement("TRUNCATE TABLE ONLY public.t;\n\n")
			text = append(append(append(text, empty...), statement("COPY public.t (id) FROM stdin;\n")...), rows...)
			wanted = append(append(append(wanted, empty...), statement("COPY public.t (id) FROM stdin WITH (FREEZE);\n")...), rows...)
		}
	}
	var pieces []io.Reader
	for left := text; len(left) > 0; {
		size := min(len(left), 1+source.Intn(300<<source.Intn(12)))
		pieces = append(pieces, bytes.NewReader(left[:size]))
		left = left[size:]
	}
	if got := heard(t, io.MultiReader(pieces...)); !bytes.Equal(got, wanted) {
		t.Errorf("%d bytes instead of %d", len(got), len(wanted))
	}
}

// full takes that many bytes and no more.
type full int

func (f *full) Write(text []byte) (int, error) {
	if *f -= full(len(text)); *f < 0 {
		return 0, errors.New("gone")
	}
	return len(text), nil
}

// asked fails the test when somebody reads from it.
type asked struct{ *testing.T }

func (a asked) Read([]byte) (int, error) {
	a.Error("nobody hears any more, and yet more is asked for")
	return 0, io.EOF
}

func TestAServerThatIsGoneEndsThePassingOn(t *testing.T) {
	text := said(statement("TRUNCATE TABLE ONLY public.a;\n\n"), statement("COPY public.a (id) FROM stdin;\n"), message('d', "1\n"))
	for room := range len(text) {
		server := full(room)
		if inward(&server, io.MultiReader(bytes.NewReader(text), asked{t})) == nil {
			t.Errorf("%d bytes were heard of %d", room, len(text))
		}
	}
}
