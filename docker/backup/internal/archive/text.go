package archive

import (
	"bufio"
	"compress/bzip2"
	"compress/gzip"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"
)

// Text opens the SQL of a plain dump, decompressed. Damage in the compression shows as an error of Read.
func (a Archive) Text() (io.ReadCloser, error) {
	file, err := os.Open(a.Path)
	if err != nil {
		return nil, unreadable(a.Path, err)
	}
	text, err := decompress(bufio.NewReaderSize(file, 1<<20), a.Compression)
	if err != nil {
		file.Close() //nolint:errcheck,gosec // read only
		return nil, damaged(a.Path, err.Error())
	}
	return &reader{Reader: text, file: file}, nil
}

func decompress(raw io.Reader, compression string) (io.Reader, error) {
	switch compression {
	case "gzip":
		return gzip.NewReader(raw)
	case "zstd":
		// One goroutine: the other core belongs to the database.
		decoder, err := zstd.NewReader(raw, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		return decoder.IOReadCloser(), nil
	case "bzip2":
		return bzip2.NewReader(raw), nil
	}
	return raw, nil
}

type reader struct {
	io.Reader
	file *os.File
}

func (r *reader) Close() error {
	if closer, can := r.Reader.(io.Closer); can {
		closer.Close() //nolint:errcheck,gosec // read only
	}
	return r.file.Close()
}
