"""Several processes of one group, for tests: forked, so that they begin with the models that the test has made."""

from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from torch.distributed import TCPStore

from sage_pl import processes


def joined(work: Callable[[], Any], count: int = 2) -> list[Any]:
    """What ``work`` returns in each of ``count`` processes, by rank; an error of one of them is raised."""
    context = multiprocessing.get_context("fork")
    store = TCPStore("127.0.0.1", 0, count + 1, is_master=True, wait_for_workers=False)
    pipes = [context.Pipe(duplex=False) for _ in range(count)]
    started = [
        context.Process(target=_member, args=(work, rank, count, store.port, sender), daemon=True)
        for rank, (_, sender) in enumerate(pipes)
    ]
    for process in started:
        process.start()
    results = []
    for receiver, _ in pipes:
        assert receiver.poll(100), "a process has not answered"
        results.append(pickle.loads(receiver.recv_bytes()))  # noqa: S301 - this test's own
    for process in started:
        process.kill()
        process.join()
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


def _member(work: Callable[[], Any], rank: int, count: int, port: int, sender: Connection) -> None:
    try:
        processes.join(rank, count, TCPStore("127.0.0.1", port, count + 1, is_master=False))
        sender.send_bytes(pickle.dumps(work()))  # not by shared memory, which ends with this process
        processes.agreed(None)  # its partner may still read from it
    except BaseException as error:  # noqa: BLE001 - the test's own process raises it
        sender.send_bytes(pickle.dumps(error))
