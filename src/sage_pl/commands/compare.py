"""The command compare: finished runs in, tables with tests and a report out."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from sage_pl import hosts
from sage_pl.comparison.compare import compare_runs
from sage_pl.ranges import Count, Seed
from sage_pl.report import make
from sage_pl.runs.checks import refuse
from sage_pl.runs.numbers import setting_problems


def compare(config: DictConfig) -> None:
    """Compare the runs that ``config.runs`` finds and write the tables into ``config.folder``.

    Raises:
        ConfigError: a number is out of range.
        RunError: nothing can be compared, or an option does not fit.
        LoggerError: W&B is asked for and cannot be used.
    """
    options: dict = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    refuse(setting_problems({"resamples": Count, "seed": Seed}, options))
    report = None if config.report is None else make.after_run("comparison", config.report)
    if config.wandb:
        from sage_pl.training.loggers import wandb_run

        wandb_run.check()
    with hosts.only(()):
        compare_runs(options)
        if report is not None:
            report(Path(config.folder))
    if config.wandb:
        wandb_run.log_comparison(Path(config.folder), config.wandb, config.group)
