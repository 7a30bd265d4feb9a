package child

import (
	"context"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// parent is set in the environment of a process of this test that starts a program and waits for it.
const parent = "WEPP_TEST_PARENT"

func TestMain(m *testing.M) {
	if os.Getenv(parent) == "" {
		os.Exit(m.Run())
	}
	program := Command(context.Background(), "sleep", "60")
	if program.Start() == nil {
		os.Stdout.WriteString(strconv.Itoa(program.Process.Pid) + "\n")
		program.Wait() //nolint:errcheck // it does not come to that
	}
}

func alive(number int) bool {
	state, err := os.ReadFile("/proc/" + strconv.Itoa(number) + "/stat")
	// One that has died and waits for its parent is dead.
	return err == nil && !strings.Contains(string(state), ") Z ")
}

func gone(t *testing.T, number int) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); alive(number); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			syscall.Kill(number, syscall.SIGKILL) //nolint:errcheck // of a test that has failed
			t.Fatal("the program lives on")
		}
	}
}

func TestAProgramDiesWithTheProcessThatStartedIt(t *testing.T) {
	process := exec.Command(os.Args[0])
	process.Env = append(os.Environ(), parent+"=yes")
	said, err := process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 20)
	read, err := said.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.Atoi(strings.TrimSpace(string(line[:read])))
	if err != nil || !alive(number) {
		t.Fatalf("no program: %q, %v", line[:read], err)
	}
	if err := process.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	process.Wait() //nolint:errcheck // it was killed
	gone(t, number)
}

func TestAProgramIsAskedToStopWhenItsWorkIsNotWantedAnyMore(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	program := Command(ctx, "sh", "-c", `trap "echo asked; exit 3" TERM; echo ready; while :; do sleep 0.01; done`)
	said, err := program.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 20)
	if _, err := said.Read(line); err != nil {
		t.Fatal(err)
	}
	cancel()
	read, _ := said.Read(line)
	if string(line[:read]) != "asked\n" {
		t.Errorf("it said %q", line[:read])
	}
	if program.Wait(); program.ProcessState.ExitCode() != 3 { //nolint:errcheck // its status is looked at
		t.Errorf("it ended with %s", program.ProcessState)
	}
	gone(t, program.Process.Pid)
}
