"""Early end of runs of a search."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytorch_lightning as pl

from sage_pl.ranges import Natural

if TYPE_CHECKING:
    from optuna.storages import BaseStorage


class PrunedError(RuntimeError):
    """The search has pruned this run."""


def open_storage(address: str) -> BaseStorage:
    """The storage of studies at an address: a database where it is a URL, otherwise Optuna's journal file."""
    from optuna.storages import JournalStorage, get_storage
    from optuna.storages.journal import JournalFileBackend

    return get_storage(address) if "://" in address else JournalStorage(JournalFileBackend(address))


class Pruning(pl.Callback):
    """Reports every validation to an Optuna study and prunes a run below the median.

    A run is pruned after the first validation, from epoch ``warmup`` on, at which its best value so far is below the median
    of the values of the study's finished trials at that epoch, if there are at least ``startup`` of them.

    Args:
        storage: of the study, see :func:`open_storage`.
        study: its name.
        trial: number of this run's trial in it.
        monitor: what the search maximises, such as ``val/full/ndcg@10``.
        startup: finished trials before any is pruned.
        warmup: epochs before a run can be pruned.

    Raises:
        PrunedError: the run is pruned; the trial's attribute ``pruned`` is the epoch. Or the trial has ended in the
            study, since its search was cut off.
    """

    def __init__(
        self, storage: str, study: str, trial: Natural, monitor: str, startup: Natural = 5, warmup: Natural = 5
    ) -> None:
        self.storage = storage
        self.study = study
        self.trial = trial
        self.monitor = monitor
        self.startup = startup
        self.warmup = warmup

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        import optuna

        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        storage = open_storage(self.storage)
        study = optuna.load_study(study_name=self.study, storage=storage)
        study_id = storage.get_study_id_from_name(self.study)
        trial_id = storage.get_trial_id_from_study_id_trial_number(study_id, self.trial)
        value, epoch = float(trainer.callback_metrics[self.monitor]), trainer.current_epoch
        try:
            storage.set_trial_intermediate_value(trial_id, epoch, value)
        except optuna.exceptions.UpdateFinishedTrialError:
            raise PrunedError(f"trial {self.trial} has ended in its study, which another search repeats") from None
        pruner = optuna.pruners.MedianPruner(self.startup, self.warmup)
        trial = storage.get_trial(trial_id)
        if pruner.prune(study, trial):
            storage.set_trial_user_attr(trial_id, "pruned", epoch)
            best = max(trial.intermediate_values.values())
            raise PrunedError(
                f"pruned after epoch {epoch}: its best {self.monitor}, {best:.4f}, is below the search's median"
            )
