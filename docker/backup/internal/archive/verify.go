package archive

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"

	"wepp.example/backup/internal/child"
	"wepp.example/backup/internal/event"
	"wepp.example/backup/internal/vault"
)

// Verify reads all of a dump: against its checksum where one lies beside it, and through pg_restore (or, for plain SQL,
// to its closing line). Returns what the dump needs. Refuses a dump that is damaged anywhere it can be told.
//
// `pg_restore --list` would prove nothing: it reads the table of contents, which stands at the front.
func Verify(ctx context.Context, dump Archive, report *event.Reporter) (Needs, error) {
	if dump.Checksummed {
		if err := checkSums(ctx, dump, report); err != nil {
			return Needs{}, err
		}
	}
	if dump.Kind == Plain {
		return verifyPlain(ctx, dump, report)
	}
	if dump.Kind == Tar {
		if err := readTar(ctx, dump, report); err != nil {
			return Needs{}, err
		}
	}
	needs, err := describe(ctx, dump)
	if err != nil {
		return needs, err
	}
	command := child.Command(ctx, "pg_restore", "--file=/dev/null", dump.Path)
	return needs, readThrough(ctx, command, dump, report)
}

func verifyPlain(ctx context.Context, dump Archive, report *event.Reporter) (Needs, error) {
	text, err := dump.Text()
	if err != nil {
		return Needs{}, err
	}
	defer text.Close() //nolint:errcheck // read only
	counted := &counter{Reader: text, ctx: ctx, tell: func(done int64) { report.Progress("reading", done, dump.plainBytes()) }}
	needs, why, err := readSQL(counted, true)
	if ctx.Err() != nil {
		return needs, ctx.Err()
	}
	if err != nil {
		return needs, damaged(dump.Path, err.Error())
	}
	if why != "" {
		return needs, damaged(dump.Path, why)
	}
	report.Progress("reading", counted.done, counted.done)
	return needs, nil
}

// plainBytes is the length of the text where it is known without reading it: compressed, it is not.
func (a Archive) plainBytes() int64 {
	if a.Compression == "" {
		return a.Bytes
	}
	return 0
}

// describe reads the table of contents and the schema, not the rows.
func describe(ctx context.Context, dump Archive) (Needs, error) {
	list, err := output(ctx, dump, "--list")
	if err != nil {
		return Needs{}, err
	}
	schema, err := output(ctx, dump, "--schema-only", "--file=-")
	if err != nil {
		return Needs{}, err
	}
	needs, _, err := readSQL(bytes.NewReader(schema), false)
	if err != nil {
		return needs, damaged(dump.Path, err.Error())
	}
	for key, into := range map[string]*string{
		"dbname":                       &needs.Database,
		"Dumped from database version": &needs.ServerVersion,
		"Dumped by pg_dump version":    &needs.ClientVersion,
	} {
		if found := regexp.MustCompile(`(?m)^; +` + key + `: (.*)$`).FindSubmatch(list); found != nil {
			*into = strings.TrimSpace(string(found[1]))
		}
	}
	return needs, nil
}

func output(ctx context.Context, dump Archive, args ...string) ([]byte, error) {
	var told bytes.Buffer
	command := child.Command(ctx, "pg_restore", append(args, dump.Path)...)
	command.Stderr = &told
	answer, err := command.Output()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, unfit(command.Path, dump.Path, told.String(), err)
	}
	return answer, nil
}

// checkSums compares every file of the dump with the checksum file beside it, or the one file with its manifest's.
func checkSums(ctx context.Context, dump Archive, report *event.Reporter) error {
	if dump.manifestSum != "" {
		sum, err := Sum(ctx, dump.Path, func(done int64) { report.Progress("checksum", done, dump.Bytes) })
		if err == nil && sum != dump.manifestSum {
			err = damaged(dump.Path, notItsSum)
		}
		return err
	}
	path := dump.Path + vault.ChecksumSuffix
	text, err := os.ReadFile(path)
	if err != nil {
		return unreadable(path, err)
	}
	wanted := map[string]string{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		sum, name, two := strings.Cut(lines.Text(), " ")
		name = strings.TrimLeft(name, " *")
		if !two || len(sum) != 2*sha256.Size || name == "" {
			return damaged(path, "it is not a list of SHA-256 sums")
		}
		wanted[filepath.Base(dump.Path)+strings.TrimPrefix(filepath.ToSlash(name), firstPart(name))] = sum
	}
	var done int64
	err = filepath.WalkDir(dump.Path, func(each string, entry fs.DirEntry, err error) error {
		if err != nil {
			return unreadable(each, err)
		}
		if entry.IsDir() {
			return nil
		}
		inside, err := filepath.Rel(filepath.Dir(dump.Path), each)
		if err != nil {
			return fmt.Errorf("path in the dump: %w", err)
		}
		sum, err := Sum(ctx, each, func(more int64) { report.Progress("checksum", done+more, dump.Bytes) })
		if err != nil {
			return err
		}
		if status, err := entry.Info(); err == nil {
			done += status.Size()
		}
		if wanted[inside] != sum {
			return damaged(dump.Path, notItsSum)
		}
		delete(wanted, inside)
		return nil
	})
	if err == nil && len(wanted) > 0 {
		return damaged(dump.Path, fmt.Sprintf("%d of its files are missing", len(wanted)))
	}
	return err
}

const notItsSum = "its checksum is not the one it was written with"

// firstPart is the name of the dump as it was when it was summed: a dump may have been renamed since with its companions.
func firstPart(name string) string {
	first, _, _ := strings.Cut(filepath.ToSlash(name), "/")
	return first
}

// Sum is the SHA-256 of a file, in hexadecimal. tell, if given, hears how many bytes were read.
func Sum(ctx context.Context, path string, tell func(int64)) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", unreadable(path, err)
	}
	defer file.Close() //nolint:errcheck // read only
	sum := sha256.New()
	if _, err := io.Copy(sum, &counter{Reader: file, ctx: ctx, tell: tell}); err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		return "", unreadable(path, err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

type counter struct {
	io.Reader
	ctx  context.Context //nolint:containedctx // lives for one call
	tell func(int64)
	done int64
}

func (c *counter) Read(buffer []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	count, err := c.Reader.Read(buffer)
	c.done += int64(count)
	if c.tell != nil {
		c.tell(c.done)
	}
	return count, err
}

// unfit says why pg_restore could not read a dump. What a damaged one makes of it may be anything, its own death
// included; but it does not get itself killed, and a disk that fails says so.
func unfit(program, path, told string, err error) error {
	if killed := child.Killed(program, err); killed != nil {
		return killed
	}
	if trouble := Unread(path, told); trouble != nil {
		return trouble
	}
	return damaged(path, complaint(told, err))
}

// Unread is the problem of a dump that cannot be read for its disk's sake, by what a program told; nil for any other.
func Unread(path, told string) error {
	for _, each := range []error{syscall.EIO, syscall.ESTALE} {
		if strings.Contains(strings.ToLower(told), "could not read from input file: "+each.Error()) {
			return unreadable(path, each)
		}
	}
	return nil
}

func complaint(told string, err error) string {
	lines := strings.Split(strings.TrimSpace(told), "\n")
	if last := strings.TrimSpace(lines[len(lines)-1]); last != "" {
		return strings.TrimPrefix(last, "pg_restore: error: ")
	}
	return err.Error()
}
