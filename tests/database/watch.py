"""Which programs live in the containers that a task works with: when they lived, and a way to kill one at once."""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from collections.abc import Callable, Sequence

from tests.database.stack import LightStack

# $1: `asked` where only what `wepp-backup --json` runs is meant, for the sidecar works for itself too; the others:
# names of programs. Says `+` when the first of them runs and `-` when none does any more. Its input says `strike`,
# which kills what runs, or what runs next, and `spare`. A container has a shell, but neither pgrep nor pkill.
LOOK = """
only=$1
shift
asked() {
  local number=$1 word words
  while [ "$number" -gt 1 ]; do
    # The interpreter and its flags come first.
    words=
    while IFS= read -r -d '' word; do words="$words $word"; done <"/proc/$number/cmdline"
    case "$words " in *"/wepp-backup --json "*) return 0 ;; esac
    read -r number <"/proc/$number/stat" || return 1
    number=${number##*) } # the name stands in brackets
    number=${number#* }
    number=${number%% *}
  done
  return 1
}
told=
while :; do
  found=
  for folder in /proc/[0-9]*; do
    read -r name <"$folder/comm" || continue
    case " $* " in *" $name "*) ;; *) continue ;; esac
    # One that has ended and waits for its parent has no arguments any more.
    word=
    IFS= read -r -d '' word <"$folder/cmdline"
    [ -n "$word" ] || continue
    [ "$only" != asked ] || asked "${folder#/proc/}" || continue
    found="$found ${folder#/proc/}"
  done
  if [ -n "$found$told" ] && { [ -z "$found" ] || [ -z "$told" ]; }; then
    told=$found
    if [ -n "$found" ]; then echo +; else echo -; fi
  fi
  if [ -n "$strike" ] && [ -n "$found" ]; then
    # Stopped first: a container ends with its program, and this shell with the container.
    kill -STOP $found && echo killed && kill -9 $found && exit
  fi
  word=
  IFS= read -r -t 0.02 word || [ $? -gt 128 ] || exit
  case $word in strike) strike=now ;; spare) strike= ;; esac
done 2>/dev/null
"""
# The helper containers of tasks and the sidecar, in which tasks run their programs; the server's own for their psql.
STARTED = '{{index .Actor.Attributes "com.docker.compose.oneoff"}} {{.Actor.Attributes.name}}'
START_SECONDS = 10.0


class Watch:
    """Looks into the containers while the block runs, from the first moment of each that is started meanwhile.

    server: into the server's container too.
    """

    def __init__(self, stack: LightStack, programs: Sequence[str], *, server: bool = False) -> None:
        self.stack = stack
        self.programs = tuple(programs)
        self.server = server
        self.sidecar = stack.container("postgres-backup")
        self.runs: list[tuple[float, float]] = []
        self.starts: list[float] = []
        self.ends: list[float] = []
        self._looks: list[subprocess.Popen[str]] = []
        self._threads: list[threading.Thread] = []
        self._guard = threading.Lock()
        self._striking = False
        self._struck = threading.Event()

    def __enter__(self) -> Watch:
        label = f"label=com.docker.compose.project={self.stack.name}"
        since = f"--since={time.time():.3f}"
        self._events = subprocess.Popen(
            ["docker", "events", since, "--filter", label, "--filter", "event=start", "--format", STARTED],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._thread(self._listen)
        self._look_into(self.sidecar)
        if self.server:
            self._look_into(self.stack.container("postgres"))
        return self

    def __exit__(self, *_: object) -> None:
        self._events.terminate()
        with self._guard:
            looks = list(self._looks)
        for each in looks:
            with contextlib.suppress(OSError):
                assert each.stdin
                each.stdin.close()
        for thread in self._threads:
            thread.join(START_SECONDS)
        for process in (self._events, *looks):
            process.kill()
            process.wait()

    def _thread(self, what: Callable[..., None], *arguments: object) -> None:
        self._threads.append(threading.Thread(target=what, args=arguments, daemon=True))
        self._threads[-1].start()

    def _listen(self) -> None:
        for line in self._events.stdout or ():
            oneoff, _, name = line.strip().partition(" ")
            if oneoff == "True" or name == self.sidecar:
                self._look_into(name)

    def _look_into(self, container: str) -> None:
        whose = "asked" if container == self.sidecar else "all"
        look = subprocess.Popen(
            ["docker", "exec", "-i", container, "bash", "-c", LOOK, "look", whose, *self.programs],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        with self._guard:
            self._looks.append(look)
            if self._striking:
                self._tell(look, "strike")
        self._thread(self._hear, look)

    def _hear(self, look: subprocess.Popen[str]) -> None:
        since = 0.0
        for line in look.stdout or ():
            word, now = line.strip(), time.monotonic()
            if word == "+":
                since = now
                self.starts.append(now)
            elif word == "-":
                self.runs.append((since, now))
                since = 0.0
                self.ends.append(now)
            elif word == "killed":
                self._spare()
        if since:
            self.runs.append((since, time.monotonic()))

    @staticmethod
    def _tell(look: subprocess.Popen[str], word: str) -> None:
        with contextlib.suppress(OSError):
            assert look.stdin
            look.stdin.write(f"{word}\n")
            look.stdin.flush()

    def _spare(self) -> None:
        """A task that asks what a killed program did, or takes it back, starts another one, which shall live."""
        with self._guard:
            self._striking = False
            self._struck.set()
            for each in self._looks:
                self._tell(each, "spare")

    def strike(self) -> None:
        """Has the programs killed that live now, or the next ones."""
        with self._guard:
            self._striking = True
            for each in self._looks:
                self._tell(each, "strike")

    def struck(self, seconds: float) -> bool:
        """True once something was killed; waits so long for it."""
        return self._struck.wait(seconds)
