"""The command explore: a page in the browser about finished runs."""

from __future__ import annotations

import argparse
import logging
import threading
import webbrowser
from collections.abc import Sequence

from sage_pl.commands.quiet import quiet_libraries
from sage_pl.commands.serve import LOOPBACK, add_address, required

log = logging.getLogger(__name__)
_ABOUT = "Open a page about trained models: lists side by side and why, similar users and items, new items, a map."


def parser() -> argparse.ArgumentParser:
    """The arguments of the command."""
    arguments = argparse.ArgumentParser("sage-pl explore", description=_ABOUT)
    arguments.add_argument(
        "runs", nargs="+", metavar="RUN", help="folder of a finished run or of an evaluation, or a checkpoint"
    )
    add_address(arguments)
    arguments.add_argument(
        "--artifacts", default="outputs/artifacts", help="where missing artifacts are made (outputs/artifacts)"
    )
    arguments.add_argument("--map", choices=("umap", "pca"), default="umap", help="how items come on the map (umap)")
    arguments.add_argument("--no-browser", action="store_true", help="open no browser")
    return arguments


def explore(arguments: Sequence[str]) -> None:
    """Serve the page until SIGTERM or SIGINT.

    Raises:
        UserError: a package is missing, or a run cannot be opened.
    """
    options = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    quiet_libraries()
    uvicorn = required()
    from sage_pl.explorer.app import create_app
    from sage_pl.explorer.explorer import Explorer
    from sage_pl.explorer.opening import open_run
    from sage_pl.service.connections import PROTOCOL

    explorer = Explorer([open_run(run, options.artifacts) for run in options.runs], options.map)
    hosts = ("127.0.0.1", "localhost", "[::1]") if options.host in LOOPBACK else ()
    address = f"http://{options.host}:{options.port}/"
    log.info("the page is %s; Ctrl-C ends it", address)
    if not options.no_browser:
        threading.Timer(1.0, webbrowser.open, (address,)).start()
    uvicorn.run(
        create_app(explorer, hosts),
        host=options.host,
        port=options.port,
        log_level="warning",
        access_log=False,
        server_header=False,
        http=PROTOCOL,
    )
