"""What runs for tasks in a backup service's container: their programs, and clients whose program is gone."""

from __future__ import annotations

import subprocess

CLIENTS = ("pg_dump", "pg_dumpall", "pg_restore", "psql", "vacuumdb")
# In the container there is a shell, but no pkill.
KILL = """
for each in /proc/[0-9]*; do
  words=
  while IFS= read -r -d '' word; do words="$words $word"; done <"$each/cmdline"
  case "$words " in *"/wepp-backup --json "*) kill -9 "${each#/proc/}" ;; esac
done 2>/dev/null
"""


def programs(container: str) -> list[str]:
    """Command lines of what tasks run there now; nothing where the container does not run."""
    init = _ask("inspect", "--format", "{{.State.Pid}}", container).strip()
    found = []
    for line in _ask("top", container, "-eo", "ppid,args").splitlines():
        parent, _, command = line.strip().partition(" ")
        # The sidecar runs clients of its own, too, but stays their parent.
        if "/wepp-backup --json" in command or (parent == init and command.startswith(CLIENTS)):
            found.append(command)
    return found


def kill_programs(container: str) -> None:
    """Kills the tasks' programs there with a signal nobody can answer; not what they have started."""
    subprocess.run(["docker", "exec", container, "bash", "-c", KILL], check=True)


def _ask(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False).stdout
