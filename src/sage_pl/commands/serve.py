"""The command serve: an exported folder behind HTTP."""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sage_pl.errors import SettingError

if TYPE_CHECKING:
    from sage_pl.service.settings import Settings

log = logging.getLogger(__name__)
INSTALL = 'sage-pl serve needs the package {}: pip install "sage-pl[serve]"'
LOOPBACK = ("127.0.0.1", "localhost", "::1")
_ABOUT = "Serve an exported folder: POST /recommend /similar /items /events, GET /health /metrics and a page at /."
_CONNECTIONS = 2048  # at once; a further one gets 503
_ROWS = 100_000  # events written at a time


def parser() -> argparse.ArgumentParser:
    """The arguments of the command."""
    arguments = argparse.ArgumentParser("sage-pl serve", description=_ABOUT)
    arguments.add_argument(
        "folder", help="written by: sage-pl export checkpoint=FILE folder=DIR; a replaced one is read anew"
    )
    add_address(arguments)
    arguments.add_argument("--workers", type=_count, default=1, help="processes over one memory-mapped model (1)")
    arguments.add_argument("--store", metavar="FILE", help="SQLite file of events and added items (FOLDER.db)")
    arguments.add_argument("--lists", metavar="FILE", help="lists kept by: sage-pl recommend users=all")
    arguments.add_argument("--events", metavar="FILE", help="a table of events that are added to the store first")
    for name, column in (("user", "user_id"), ("item", "item_id"), ("time", "timestamp")):
        arguments.add_argument(f"--{name}", metavar="COLUMN", help=f"of --events ({column})")
    arguments.add_argument("--max-k", type=_count, default=1000, help="items of a list at most (1000)")
    arguments.add_argument("--max-body", type=_count, default=1 << 20, help="bytes of a request at most (1048576)")
    arguments.add_argument("--timeout", type=_seconds, default=10.0, help="seconds for a request (10)")
    arguments.epilog = (
        "SAGE_PL_TOKEN in the environment is the token that a request must carry; without it none is asked for."
    )
    return arguments


def add_address(arguments: argparse.ArgumentParser) -> None:
    arguments.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1: this machine alone)")
    arguments.add_argument("--port", type=_port, default=8000, help="(8000)")


def serve(arguments: Sequence[str]) -> None:
    """Serve until SIGTERM or SIGINT; requests that have begun are answered first.

    Raises:
        SettingError: a package is missing, or the folder, the store or the events cannot be used.
    """
    options = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    uvicorn = required()
    if options.workers > 1:  # before the package of metrics is imported
        counters = tempfile.TemporaryDirectory(prefix="sage-pl-metrics-")
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = counters.name
    from sage_pl.service.app import create_app
    from sage_pl.service.connections import PROTOCOL
    from sage_pl.service.settings import TOKEN, Settings

    store = options.store or f"{options.folder.rstrip('/')}.db"
    settings = Settings(
        folder=options.folder,
        store=store,
        lists=options.lists,
        hosts=("127.0.0.1", "localhost", "[::1]") if options.host in LOOPBACK else (),
        token=os.environ.get(TOKEN) or None,
        max_k=options.max_k,
        max_body=options.max_body,
        timeout=options.timeout,
    )
    if options.host not in LOOPBACK and settings.token is None:
        log.warning("every machine that reaches %s may ask and add; set %s to a token", options.host, TOKEN)
    if options.events is not None:
        add_events(Path(options.events), settings, options.user, options.item, options.time)
    log.info(
        "http://%s:%d serves %s; events and added items are in %s", options.host, options.port, options.folder, store
    )
    stop = max(1, round(options.timeout))
    common = {
        "host": options.host,
        "port": options.port,
        "timeout_graceful_shutdown": stop,
        "log_level": "warning",
        "access_log": False,
        "server_header": False,
        "limit_concurrency": _CONNECTIONS,
        "http": PROTOCOL,
    }
    if options.workers == 1:
        uvicorn.run(create_app(settings), **common)
        return
    settings.hand_over()
    check(settings)
    uvicorn.run("sage_pl.service.app:handed_over", factory=True, workers=options.workers, **common)


def required() -> Any:
    """uvicorn, where all that serves is installed.

    Raises:
        SettingError: a package is missing.
    """
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import uvicorn
    except ImportError as error:
        raise SettingError(INSTALL.format(error.name)) from error
    return uvicorn


def check(settings: Settings) -> None:
    """The folder and the store can be used; a worker process could only say so again and again."""
    from sage_pl.service.live import Live

    Live(settings).store.close()


def add_events(file: Path, settings: Settings, user: str | None, item: str | None, time: str | None) -> None:
    """Add the events of a table to the store; those that are there stay as they are.

    Args:
        file: any that the data set's own files may be (:func:`sage_pl.data.later.read_events`).
        settings: with the store.
        user, item, time: its columns; None for ``user_id``, ``item_id`` and, where there is one, ``timestamp``.

    Raises:
        UserError: the file cannot be read.
    """
    from sage_pl.data.later import read_events
    from sage_pl.data.sources.csv import CSV
    from sage_pl.service.state import Store

    named = user or item or time
    source = CSV(file, user or "user_id", item or "item_id", time if named else "timestamp")
    frame = read_events(source, (), file).with_row_index("row")
    times = frame["timestamp"].is_null().any()  # the order of the file then tells what came first
    store, added = Store(settings.store), 0
    for part in frame.iter_slices(_ROWS):
        moments = part["row" if times else "timestamp"].cast(float)
        added += store.add_events(zip(part["user_id"], part["item_id"], moments, strict=True))
        log.info("%s: %d of %d events read", file, part["row"][-1] + 1, len(frame))
    store.close()
    log.info("%d of %d events were new", added, len(frame))


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    return value


def _port(text: str) -> int:
    value = int(text)
    if not 0 <= value < 65536:
        raise argparse.ArgumentTypeError(f"{text} is no port, wanted 0 to 65535")
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < 3600:
        raise argparse.ArgumentTypeError(f"{text} is no time, wanted seconds above 0 and below 3600")
    return value
