"""Several processes of one group, for tests: forked, so that they begin with the models that the test has made."""

from __future__ import annotations

import multiprocessing
import pickle
import tempfile
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from torch.distributed import FileStore

from sage_pl import processes

_PATIENCE = 100  # seconds


def joined(work: Callable[[], Any], count: int = 2) -> list[Any]:
    """What ``work`` returns in each of ``count`` processes, by rank; an error of one of them is raised.

    They find each other by a file: a store that listens has a thread here, whose locks a forked process may get closed.
    """
    context = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as folder:
        started = []
        for rank in range(count):
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(target=_member, args=(work, rank, count, Path(folder), sender), daemon=True)
            process.start()
            sender.close()  # so that a process that dies is noticed
            started.append((process, receiver))
        try:
            return [_heard(rank, receiver) for rank, (_, receiver) in enumerate(started)]
        finally:
            for process, receiver in started:
                process.kill()
                process.join()
                receiver.close()


def _heard(rank: int, receiver: Connection) -> Any:
    assert receiver.poll(_PATIENCE), f"process {rank} has not answered"
    failed, answer = pickle.loads(receiver.recv_bytes())  # noqa: S301 - this test's own
    assert not failed, f"process {rank}:\n{answer}"
    return answer


def _member(work: Callable[[], Any], rank: int, count: int, folder: Path, sender: Connection) -> None:
    try:
        processes.join(rank, count, FileStore(str(folder / "store"), count))
        sender.send_bytes(pickle.dumps((False, work())))  # not by shared memory, which ends with this process
        processes.agreed(None)  # its partner may still read from it
    except BaseException:  # noqa: BLE001 - the test's own process raises it
        sender.send_bytes(pickle.dumps((True, traceback.format_exc())))
