"""Runs commands of one checkout for the campaign: the heavy packages are imported once, and each command is a fork.

It reads one job per line from standard input, as JSON, and answers with one line. A job may be killed after some seconds, or
at a chosen file operation.
"""

from __future__ import annotations

import json
import os
import resource
import runpy
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

OPERATIONS = ("replace", "rename", "link", "symlink", "unlink", "rmdir", "mkdir", "fsync", "open", "truncate")


def kill_at(number: int, operations: tuple[str, ...]) -> None:
    """End this process with SIGKILL just before the ``number``-th call of the named functions of ``os``.

    An ``open`` counts if it writes.
    """
    calls = 0

    def counted(function: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal calls
            reads = function.__name__ == "open" and not (arguments[1] & (os.O_WRONLY | os.O_RDWR))
            if not reads:
                calls += 1
                if calls == number:
                    os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **named)

        return call

    for name in operations:
        setattr(os, name, counted(getattr(os, name)))


def run(job: dict[str, Any]) -> None:
    """The forked process: apply the job's limits and run its program."""
    os.setsid()
    for name, file in (("stdin", "/dev/null"), ("stdout", job["stdout"]), ("stderr", job["stderr"])):
        flags = os.O_RDONLY if name == "stdin" else os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        os.dup2(os.open(file, flags, 0o644), ("stdin", "stdout", "stderr").index(name))
    os.chdir(job["cwd"])
    os.environ.update(job["env"])
    import tempfile

    tempfile.tempdir = None  # the environment may name another
    for name, value in job["limits"].items():
        resource.setrlimit(getattr(resource, name), (value, value))
    if job["kill_at"]:
        kill_at(job["kill_at"], tuple(job["operations"]))
    sys.argv = job["argv"]
    code = 0
    try:
        if job["code"] is not None:
            exec(compile(job["code"], "<campaign>", "exec"), {"__name__": "__main__"})  # noqa: S102  the campaign's own text
        else:
            runpy.run_path(job["argv"][0], run_name="__main__")
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
    except BaseException:  # noqa: BLE001  a raw traceback is what the campaign looks for
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def wait(child: int, seconds: float, kill_after: float | None) -> tuple[int | None, bool]:
    """The exit code, negative for a signal; None after a hang. And whether it was cut off on purpose."""
    end, cut = time.monotonic() + seconds, None if kill_after is None else time.monotonic() + kill_after
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status), False
        now = time.monotonic()
        if (cut is not None and now >= cut) or now >= end:
            try:
                os.killpg(child, signal.SIGKILL)
            except ProcessLookupError:
                os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return (-signal.SIGKILL, True) if now < end else (None, False)
        time.sleep(0.01)


def main() -> None:
    """Import what commands import, then serve jobs until the input ends."""
    sys.path.insert(0, str(Path(sys.argv[1])))
    import sage_pl.commands.evaluate
    import sage_pl.commands.recommend
    import sage_pl.commands.train

    print(json.dumps({"ready": sage_pl.__file__}), flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        start = time.monotonic()
        child = os.fork()
        if not child:
            run(job)
        code, cut = wait(child, job["timeout"], job["kill_after"])
        print(json.dumps({"code": code, "cut": cut, "seconds": time.monotonic() - start}), flush=True)


if __name__ == "__main__":
    main()
