"""A study that several searches share: whose trials still run, and where it is."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sage_pl.errors import SettingError

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

BEAT, GRACE = 60.0, 300.0  # seconds between the signs of life of a trial, and from the last one to its end
_ALIVE = "alive"  # a trial's attribute: the time of its last sign


@contextmanager
def alive(trials: Sequence[Trial]) -> Iterator[None]:
    """Have trials show other searches every :data:`BEAT` seconds that the process which waits for them lives.

    The sign is an attribute of the trial, since Optuna's own heartbeat is for databases alone. One that cannot be written is
    made up for by the next.
    """
    from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError

    end = threading.Event()

    def beat() -> None:
        while True:
            for trial in trials:
                with suppress(OSError, StorageInternalError, UpdateFinishedTrialError):
                    trial.set_user_attr(_ALIVE, time.time())
            if end.wait(BEAT):
                return

    thread = threading.Thread(target=beat, name="signs of life", daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


def cut_off(study: Study) -> list[FrozenTrial]:
    """Running trials without a sign of life for :data:`GRACE` seconds: the search that waited for them has ended."""
    from optuna.trial import TrialState

    return [t for t in study.get_trials(states=(TrialState.RUNNING,)) if time.time() - _last_sign(t) > GRACE]


def _last_sign(trial: FrozenTrial) -> float:
    start = trial.datetime_start
    return float(trial.user_attrs.get(_ALIVE, 0 if start is None else start.timestamp()))


def check_address(storage: str) -> None:
    """Refuse a password, which the configuration of every trial would hold.

    Raises:
        SettingError: the URL has a password.
    """
    if urlsplit(storage).password is not None:
        raise SettingError(
            "search.storage holds a password, which every trial would record; leave it to the client of the database "
            "(~/.pgpass or PGPASSWORD, ~/.my.cnf)"
        )
