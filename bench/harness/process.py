"""Processes that the harness starts: pinned to a core, measured from /proc, stopped by pid."""

import contextlib
import functools
import os
import signal
import subprocess
import time
from pathlib import Path

_CPUCLOCK_SCHED = 2


class Failure(Exception):
    """Something outside the harness did not do what it should; the text is for the user."""


@functools.cache
def cores():
    """The cores for (load and origin, proxies).

    Two that this process may use: the first and the last. Decided once, before the harness pins itself.
    """
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        raise Failure("two cores are needed: one for the proxies, one for load and origin")
    return allowed[0], allowed[-1]


def _spawn(argv, core, **options):
    """Starts a command, on `core` alone where that is given.

    Nothing of ours runs in the child: only then does Python use vfork. A fork takes the longer the more memory the
    harness has, up to tens of milliseconds after cases that make their load here, and starts are measured.
    """
    # The command dies with the harness, even when that is killed with SIGKILL.
    argv = ["setpriv", "--pdeathsig", "TERM", "--", *argv]
    own = os.sched_getaffinity(0)
    try:
        if core is not None:
            os.sched_setaffinity(0, {core})
        return subprocess.Popen(argv, **options)
    finally:
        os.sched_setaffinity(0, own)


def run(argv, *, core=None, timeout=60.0, cwd=None, env=None):
    """Runs a command to its end and returns its standard output; raises Failure with what it said."""
    core = cores()[0] if core is None else core
    # Its own process group is not wanted: Ctrl-C must reach it.
    with _spawn(
        argv,
        core,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env=env,
    ) as child:
        try:
            out, err = child.communicate(timeout=timeout)
        except BaseException as error:
            child.kill()
            child.communicate()
            if isinstance(error, subprocess.TimeoutExpired):
                raise Failure(f"{argv[0]} did not end within {timeout:.0f} s") from error
            raise
    if child.returncode != 0:
        said = (err.strip() or out.strip())[-800:]
        raise Failure(f"{argv[0]} ended with {child.returncode}: {said}")
    return out


class Process:
    """A daemon of the topology: runs from construction until `stop`."""

    def __init__(self, name, argv, *, core, directory, env=None):
        """On `core` alone, or on all with None."""
        self.name = name
        self.log = Path(directory) / f"{name}.log"
        with self.log.open("wb") as log:
            self._child = _spawn(
                argv,
                core,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=directory,
                env=env,
                # Ctrl-C is for the harness, which then stops its daemons in order.
                start_new_session=True,
            )
        self.pid = self._child.pid

    def ended(self):
        """Why it is gone, or None while it runs."""
        code = self._child.poll()
        return None if code is None else f"{self.name} ended with {code}: {self.tail()}"

    def tail(self):
        """The end of what it said."""
        return self.log.read_text(errors="replace")[-800:].strip()

    def pids(self):
        """It and its descendants (nginx has a master and a worker)."""
        found, queue = [], [self.pid]
        while queue:
            pid = queue.pop()
            found.append(pid)
            for task in Path(f"/proc/{pid}/task").glob("*"):
                with contextlib.suppress(OSError):
                    queue.extend(int(child) for child in (task / "children").read_text().split())
        return found

    def cpu_seconds(self):
        """User and system time of all threads so far, those that have ended included.

        The kernel's per-process CPU clock (clock_getcpuclockid(3)): what /proc/PID/stat counts in
        ticks of 10 ms, in nanoseconds, which the idle case needs.
        """
        return sum(time.clock_gettime((~pid << 3) | _CPUCLOCK_SCHED) for pid in self.pids())

    def rss_mib(self):
        """Resident set, MiB. Pages shared by several processes count once in each."""
        total = 0
        for pid in self.pids():
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("VmRSS:"):
                    total += int(line.split()[1])
        return total / 1024

    def stop(self, patience=2.0):
        """SIGTERM, and SIGKILL after so many seconds; then whatever is left of its session's group."""
        if self._child.poll() is None:
            self._child.terminate()
            try:
                self._child.wait(patience)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()
        # The group's number is not given to another process while it has members.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)


def core_idle_seconds(core):
    """Seconds that a core was idle since boot (in 10 ms).

    The kernel measures idle time, where the tick stops in it, and samples all other: what happens in step with the tick,
    as requests that come every half millisecond, is then counted always or never.
    """
    for line in Path("/proc/stat").read_text().splitlines():
        fields = line.split()
        if fields[0] == f"cpu{core}":
            idle, iowait = map(int, fields[4:6])
            return (idle + iowait) / os.sysconf("SC_CLK_TCK")
    return 0.0
