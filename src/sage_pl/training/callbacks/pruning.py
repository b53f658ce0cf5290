"""Runs of a search that are given up early."""

from __future__ import annotations

import pytorch_lightning as pl


class GivenUpError(RuntimeError):
    """The search gave this run up."""


class Pruning(pl.Callback):
    """Reports every validation to an Optuna study, and ends a run that has no hope of winning.

    A run is given up after the first validation, from epoch ``warmup`` on, at which its best value so far is below the
    median of what the study's finished trials had reached at that epoch, provided there are ``startup`` of those.

    Args:
        storage: the study's database, ``sqlite:///FILE``.
        study: its name.
        trial: number of this run's trial in it.
        monitor: what the search maximises, such as ``val/full/ndcg@10``.
        startup: trials that must have finished before one is given up.
        warmup: epochs a run is given in any case.

    Raises:
        GivenUpError: the run is given up; the trial's attribute ``pruned`` is the epoch.
    """

    def __init__(self, storage: str, study: str, trial: int, monitor: str, startup: int = 5, warmup: int = 5) -> None:
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
        storage = optuna.storages.get_storage(self.storage)
        study = optuna.load_study(study_name=self.study, storage=storage)
        identity = storage.get_trial_id_from_study_id_trial_number(
            storage.get_study_id_from_name(self.study), self.trial
        )
        value, epoch = float(trainer.callback_metrics[self.monitor]), trainer.current_epoch
        storage.set_trial_intermediate_value(identity, epoch, value)
        pruner = optuna.pruners.MedianPruner(self.startup, self.warmup)
        trial = storage.get_trial(identity)
        if pruner.prune(study, trial):
            storage.set_trial_user_attr(identity, "pruned", epoch)
            best = max(trial.intermediate_values.values())
            raise GivenUpError(
                f"given up after epoch {epoch}: its best {self.monitor}, {best:.4f}, is below the search's median"
            )
