package backup

import (
	"fmt"
	"io"
	"maps"
	"math/rand"
	"strings"
	"testing"
	"testing/iotest"
)

// small windows meet their edges more often than the real one.
const small = 128

func TestRowsAreCountedByTableWhateverTheyLookLike(t *testing.T) {
	long := strings.Repeat("x", 3*small)
	text := "SET a = 1;\nCOPY public.t (id, r) FROM stdin;\n1\tCOPY x FROM stdin;\n\\\\.\n" + long + "\n\\.\n\n\n" +
		"SELECT pg_catalog.lowrite(0, '" + long + "');\n" +
		"COPY public.nothing  FROM stdin;\n\n\n\\.\n\n" +
		"COPY public.empty (id) FROM stdin;\n\\.\n\n" +
		"COPY \"Odd.\"\"s\".\"a b\" (\"c d\") FROM stdin;\n1\n\\.\n"
	want := map[string]int64{"public.t": 3, "public.nothing": 2, "public.empty": 0, `"Odd.""s"."a b"`: 1}
	for name, reader := range map[string]io.Reader{
		"at once": strings.NewReader(text), "byte by byte": iotest.OneByteReader(strings.NewReader(text)), "by halves": iotest.HalfReader(strings.NewReader(text)),
	} {
		if found, err := countRows(reader, small); err != nil || !maps.Equal(found, want) {
			t.Errorf("%s: %v %v", name, found, err)
		}
	}
}

func TestADumpThatEndsInsideATableIsNotCounted(t *testing.T) {
	text := "COPY public.t (id) FROM stdin;\n1\n2\n\\.\n"
	for length := len("COPY public.t (id) FROM stdin;\n"); length < len(text)-1; length++ {
		if _, err := countRows(strings.NewReader(text[:length]), small); err == nil {
			t.Errorf("cut at %d it was counted", length)
		}
	}
}

func TestRowsAreCountedWhereverTheWindowCutsThem(t *testing.T) {
	source := rand.New(rand.NewSource(1))
	for round := 0; round < 200; round++ {
		rows := source.Intn(200)
		var text strings.Builder
		fmt.Fprintf(&text, "COPY public.t (id) FROM stdin;\n")
		for i := 0; i < rows; i++ {
			text.WriteString(strings.Repeat("y", source.Intn(small/2)) + []string{"", "\\\\.", "."}[source.Intn(3)] + "\n")
		}
		text.WriteString("\\.\nCOPY public.u (id) FROM stdin;\n1\n\\.\n")
		found, err := countRows(strings.NewReader(text.String()), small)
		if err != nil || found["public.t"] != int64(rows) || found["public.u"] != 1 {
			t.Fatalf("%d rows: %v %v", rows, found, err)
		}
	}
}
