package archive

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"wepp.example/backup/internal/child"
	"wepp.example/backup/internal/event"
	"wepp.example/backup/internal/vault"
)

const plain = `--
-- PostgreSQL database dump
--

\restrict abc

-- Dumped from database version 16.4 (Debian 16.4-1)
-- Dumped by pg_dump version 17.2

CREATE EXTENSION IF NOT EXISTS "uuid-ossp" WITH SCHEMA public;
CREATE FUNCTION public.f() RETURNS text LANGUAGE sql AS $_$
\d is no command here
COPY x FROM stdin;
$_$;
ALTER TABLE public.t OWNER TO "odd ""owner""";
GRANT SELECT ON TABLE public.t TO reader;
GRANT SELECT ON TABLE public.t TO PUBLIC;
COPY public.t (id, name) FROM stdin;
1	\\connect nothing
\.


--
-- PostgreSQL database dump complete
--

\unrestrict abc

`

func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func verify(t *testing.T, path string) (Needs, error) {
	t.Helper()
	dump, err := Open(path)
	if err != nil {
		return Needs{}, err
	}
	return Verify(context.Background(), dump, event.New(io.Discard, false, time.Now))
}

func refused(t *testing.T, err error, word string) {
	t.Helper()
	var problem *event.Problem
	if !errors.As(err, &problem) || problem.Exit != event.ExitRefused || !strings.Contains(problem.What, word) {
		t.Fatalf("wanted a refusal with %q, got %v", word, err)
	}
}

func TestAPlainDumpTellsWhatItNeeds(t *testing.T) {
	needs, err := verify(t, write(t, "a.sql", plain))
	if err != nil {
		t.Fatal(err)
	}
	if needs.ServerVersion != "16.4 (Debian 16.4-1)" || needs.ClientVersion != "17.2" ||
		!slices.Equal(needs.Extensions, []string{"uuid-ossp"}) || !slices.Equal(needs.Roles, []string{`odd "owner"`, "reader"}) {
		t.Fatalf("%+v", needs)
	}
}

func TestAPlainDumpCutAnywhereIsRefused(t *testing.T) {
	end := strings.Index(plain, plainEnd) + len(plainEnd)
	for length := 0; length < end; length++ {
		if _, err := verify(t, write(t, "a.sql", plain[:length])); err == nil {
			t.Fatalf("cut at %d of %d it was accepted", length, len(plain))
		}
	}
}

func TestAPlainDumpThatMakesPsqlDoMoreThanLoadIsRefused(t *testing.T) {
	for name, line := range map[string]string{
		"a shell": `\! rm -rf /`, "a file": `\i /etc/passwd`, "another database": `\connect other`, "a new one": "CREATE DATABASE x;",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := verify(t, write(t, "a.sql", strings.Replace(plain, "CREATE EXTENSION", line+"\nCREATE EXTENSION", 1)))
			refused(t, err, "damaged")
		})
	}
}

func TestRubbishAfterTheClosingLineIsRefused(t *testing.T) {
	_, err := verify(t, write(t, "a.sql", plain+"DROP TABLE t;\n"))
	refused(t, err, "follows")
}

func TestZeroedBytesAreRefused(t *testing.T) {
	_, err := verify(t, write(t, "a.sql", strings.Replace(plain, "nothing", "\x00\x00\x00", 1)))
	refused(t, err, "zero bytes")
}

func TestACompressedPlainDumpIsReadThroughAndItsCutRefused(t *testing.T) {
	var packed bytes.Buffer
	writer := gzip.NewWriter(&packed)
	fmt.Fprint(writer, plain)
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := verify(t, write(t, "a.sql.gz", packed.String())); err != nil {
		t.Fatal(err)
	}
	for length := 1; length < packed.Len(); length++ {
		if _, err := verify(t, write(t, "a.sql.gz", packed.String()[:length])); err == nil {
			t.Fatalf("cut at %d of %d it was accepted", length, packed.Len())
		}
	}
	_, err := verify(t, write(t, "a.sql.gz", packed.String()+"rubbish"))
	refused(t, err, "damaged")
}

func TestADumpIsRefusedWhenOneByteIsNotWhatItsChecksumSays(t *testing.T) {
	path := write(t, "a.sql", plain)
	sum, err := Sum(context.Background(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+vault.ChecksumSuffix, []byte(sum+"  a.sql\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := verify(t, path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(plain, "1\t", "2\t", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = verify(t, path)
	refused(t, err, "checksum")
}

func TestADumpWhoseChecksumFileWasLeftBehindIsComparedWithItsManifest(t *testing.T) {
	path := write(t, "a.sql", plain)
	for _, manifest := range []string{`{"sha256": "ab"}`, "no JSON", `{"other": 1}`} {
		if err := os.WriteFile(path+vault.ManifestSuffix, []byte(manifest), 0o600); err != nil {
			t.Fatal(err)
		}
		if dump, err := Open(path); err != nil || dump.Checksummed {
			t.Fatalf("%s: %+v, %v", manifest, dump, err)
		}
	}
	sum, err := Sum(context.Background(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+vault.ManifestSuffix, []byte(`{"sha256": "`+sum+`"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if dump, err := verify(t, path); err != nil {
		t.Fatalf("%+v %v", dump, err)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(plain, "1\t", "2\t", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = verify(t, path)
	refused(t, err, "checksum")
}

func TestADirectoryIsCheckedFileByFileAndAMissingOneIsTold(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "d.dump")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	list := ""
	for _, name := range []string{"toc.dat", "1.dat"} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte("PGDMP\x01\x10\x00\x04\x08\x05"+name), 0o600); err != nil {
			t.Fatal(err)
		}
		sum, _ := Sum(context.Background(), filepath.Join(folder, name), nil)
		list += sum + "  d.dump/" + name + "\n"
	}
	if err := os.WriteFile(folder+vault.ChecksumSuffix, []byte(list), 0o600); err != nil {
		t.Fatal(err)
	}
	dump, err := Open(folder)
	if err != nil || !dump.Checksummed || dump.Kind != Directory {
		t.Fatalf("%+v %v", dump, err)
	}
	report := event.New(io.Discard, false, time.Now)
	if err := checkSums(context.Background(), dump, report); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(folder, "1.dat")); err != nil {
		t.Fatal(err)
	}
	refused(t, checkSums(context.Background(), dump, report), "missing")
}

func TestWhatIsNoDumpIsRefusedWithTheReason(t *testing.T) {
	folder := t.TempDir()
	for name, each := range map[string]struct{ path, word string }{
		"nothing there":   {filepath.Join(folder, "none.dump"), "no dump"},
		"an empty file":   {write(t, "e.dump", ""), "empty"},
		"a folder":        {folder, "toc.dat"},
		"something else":  {write(t, "x.dump", "hello"), "not a dump"},
		"a newer archive": {write(t, "n.dump", "PGDMP\x01\x11\x00\x04\x08\x01\x00"), "newer pg_dump"},
		"an old archive":  {write(t, "o.dump", "PGDMP\x01\x0c\x00\x04\x08\x01\x00"), "older"},
		"half a header":   {write(t, "h.dump", "PGDMP\x01"), "header"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Open(each.path)
			refused(t, err, each.word)
		})
	}
}

func TestAReaderThatWasKilledOrWhoseDiskFailsDoesNotBlameTheDump(t *testing.T) {
	ended := errors.New("exit status 1")
	killed := child.Command(context.Background(), "sh", "-c", "kill -9 $$").Run()
	crashed := child.Command(context.Background(), "sh", "-c", "kill -SEGV $$").Run()
	for _, each := range []struct {
		told  string
		err   error
		exit  int
		words string
	}{
		{"pg_restore: error: could not read from input file: end of file\n", ended, event.ExitRefused, "is damaged: could not read from input file: end of file"},
		{"pg_restore: error: out of memory\n", ended, event.ExitRefused, "is damaged: out of memory"}, // a length that is a lie
		{"", crashed, event.ExitRefused, "is damaged"},
		{"pg_restore: error: could not read from input file: Input/output error\n", ended, event.ExitRefused, "cannot be read: input/output error"},
		{"", killed, event.ExitFailed, "pg_restore was killed"},
	} {
		problem := event.ProblemOf(unfit("/usr/bin/pg_restore", "some.dump", each.told, each.err))
		if problem.Exit != each.exit || !strings.Contains(problem.What, each.words) {
			t.Errorf("%s: %+v", each.told, problem)
		}
	}
}
