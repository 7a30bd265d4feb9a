// Package child owns how other programs are run: none of them outlives us, or works on when nobody wants its work.
package child

import (
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"wepp.example/backup/internal/event"
)

// goodbye is how long a program that is asked to stop may take, to end its own workers and statements, until it is killed.
const goodbye = 5 * time.Second

// Command is a program that gets SIGTERM when the context ends, and when this process dies, even by SIGKILL: pg_dump and
// pg_restore then end their workers and cancel their statements.
//
// The kernel sends it when the thread that started the program ends, which in Go happens only to threads that a
// goroutine has locked; none does here (golang/go#27505).
func Command(ctx context.Context, program string, args ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, program, args...)
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	command.WaitDelay = goodbye
	return command
}

// Killed is the problem of a program that was ended by SIGKILL, as the kernel does where memory is short; nil where it
// ended by its own doing.
func Killed(program string, err error) error {
	var ended *exec.ExitError
	if !errors.As(err, &ended) {
		return nil
	}
	if status, ok := ended.Sys().(syscall.WaitStatus); !ok || !status.Signaled() || status.Signal() != syscall.SIGKILL {
		return nil
	}
	return event.Fail("see whether the backup service has too little memory (docker inspect, dmesg), then run it again",
		"%s was killed", filepath.Base(program))
}
