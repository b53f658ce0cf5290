"""Runs commands of one checkout for the campaign: the heavy packages are imported once, and each command is a fork.

It reads one job per line from standard input, as JSON, and answers with one line. A job may be killed after some seconds, or
at a chosen file operation.
"""

from __future__ import annotations

import builtins
import io
import json
import os
import resource
import runpy
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any


def count_operations(log: Path, kill_at: int, operations: tuple[str, ...]) -> None:
    """Write a line into ``log`` before every file operation, and end this process with SIGKILL before number ``kill_at``.

    An ``open`` counts if it writes; one of Python's files counts twice, before it and when the file is there and empty.
    ``torch.save`` and ``shutil.copyfile`` count too.
    """
    calls = 0
    stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def count(name: str, arguments: tuple[Any, ...]) -> None:
        nonlocal calls
        calls += 1
        os.write(stream, f"{name} {' '.join(map(str, arguments[:2]))!r}\n".encode())
        if calls == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def counted(module: Any, name: str) -> Any:
        function = getattr(module, name)

        def call(*arguments: Any, **named: Any) -> Any:
            reads = name == "open" and not (arguments[1] & (os.O_WRONLY | os.O_RDWR))
            if not reads:
                count(f"{module.__name__}.{name}", arguments)
            return function(*arguments, **named)

        return call

    def opened(*arguments: Any, **named: Any) -> Any:
        mode = named.get("mode", arguments[1] if len(arguments) > 1 else "r")
        writes = isinstance(mode, str) and any(letter in mode for letter in "wax+")
        if writes:
            count("open", arguments)
        file = original(*arguments, **named)
        if writes:
            count("opened", arguments)
        return file

    import torch

    original = builtins.open
    for name in operations:
        setattr(os, name, counted(os, name))
    for module, name in ((torch, "save"), (shutil, "copyfile")):
        setattr(module, name, counted(module, name))
    builtins.open = io.open = opened  # type: ignore[assignment]


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
        count_operations(Path(job["stdout"]).with_name("operations"), job["kill_at"], tuple(job["operations"]))
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
