package vault

import (
	"context"
	"errors"
	"os"
	"syscall"
	"time"
)

const (
	lockName  = ".lock"
	lockPause = 500 * time.Millisecond
)

// Lock is held by whoever writes into the folder; the kernel lets it go when the process dies, however it dies. Waits
// while another holds it, after telling so through `waiting`; returns what gives it back.
func (v Vault) Lock(ctx context.Context, waiting func()) (release func(), err error) {
	file, err := os.OpenFile(v.Path(lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, Unusable(v.Folder, err)
	}
	for told := false; ; told = true {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { file.Close() }, nil //nolint:errcheck // closing is what releases
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			file.Close() //nolint:errcheck // the first error counts
			return nil, Unusable(v.Folder, err)
		}
		if !told && waiting != nil {
			waiting()
		}
		select {
		case <-ctx.Done():
			file.Close() //nolint:errcheck // nothing was locked
			return nil, ctx.Err()
		case <-time.After(lockPause):
		}
	}
}

// Hold keeps a dump from being pruned while it is read. Without the right to lock, reading goes on unprotected.
func Hold(dump string) (release func()) {
	file, err := os.Open(dump)
	if err != nil {
		return func() {}
	}
	syscall.Flock(int(file.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) //nolint:errcheck // see above
	return func() { file.Close() }                                 //nolint:errcheck // closing is what releases
}

// tryLock takes a file for oneself alone if nobody holds it.
func tryLock(path string) (release func(), free bool) {
	file, err := os.Open(path)
	if err != nil {
		return func() {}, os.IsPermission(err) // the plan's dumps by hand may be another user's
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		file.Close() //nolint:errcheck // nothing was locked
		return func() {}, false
	}
	return func() { file.Close() }, true //nolint:errcheck // closing is what releases
}
