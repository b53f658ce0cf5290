"""The command train: prepare what is missing, train, test the best checkpoint, report."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from sage_pl import hardware, hosts, processes
from sage_pl.commands import following
from sage_pl.commands.quiet import quiet_libraries
from sage_pl.report import index, labels, make
from sage_pl.runs import fit, requirements, sweeps
from sage_pl.runs.checkpoint import Checkpoint, refuse_places
from sage_pl.runs.checks import ConfigError, check_weights
from sage_pl.runs.choices import plain_choices
from sage_pl.runs.construct import stored
from sage_pl.runs.folders import CHECKPOINTS, clear_failed, keeps_earlier_pass
from sage_pl.runs.plan import Plan, fill_in_artifacts, make_plan, recipe_of
from sage_pl.runs.preparation import prepare
from sage_pl.runs.refitting import compare_data, open_finished, repeated
from sage_pl.runs.resuming import (
    check_artifacts,
    check_duration,
    continued,
    differences,
    earlier_cache,
    open_last,
    own_hosts,
)
from sage_pl.runs.together import together
from sage_pl.runs.trained_ids import carried
from sage_pl.runs.typed import typed_overrides
from sage_pl.runs.unread import idle_without, unread

log = logging.getLogger(__name__)


def train(config: DictConfig) -> dict[str, float]:
    """Prepare what is missing, train, test the best checkpoint and write the run's folder.

    Returns:
        The metrics, as in ``metrics.json``.

    Raises:
        ConfigError: the configuration cannot be run.
        SystemExit: with code 130 after Ctrl-C.
    """
    quiet_libraries()
    hardware.keep_freed_memory()
    checkpoint = _checkpoint(config)
    with ExitStack() as limits:
        if checkpoint is not None:
            limits.enter_context(hosts.only([*config.allow_host, *own_hosts(recipe_of(config))]))
        try:
            return _train(config, checkpoint)
        except Exception:
            if keeps_earlier_pass(config) and processes.rank() == 0:
                clear_failed(Path(config.run_dir))
            raise


def _train(config: DictConfig, checkpoint: Checkpoint | None) -> dict[str, float]:
    refit = config.refit is not None
    plan, begun_with = _plan(config, checkpoint)
    repeats = plan.config.report is None or plan.config.get("refit")
    report = None if repeats else make.after_run("run", plan.config.report)
    with _guard(checkpoint):
        loggers = fit.make_loggers(plan.config)  # a missing login ends a run here, and not after hours of preparation
    last = Path(plan.config.run_dir) / "checkpoints" / "last.ckpt"
    with _ctrl_c_ends_cleanly(last), together(config, plan.config.trainer, train):
        log.info("%s; results in %s", titled(plan.config), labels.near(plan.config.run_dir))
        artifacts = prepare(plan, also=() if checkpoint is None else [earlier_cache(checkpoint)])
        keys = {name: artifact.key for name, artifact in artifacts.items()}
        if checkpoint is not None and refit:
            compare_data(checkpoint, artifacts["sequences"])
        elif checkpoint is not None:
            check_artifacts(checkpoint, keys)
        stored_values, filled = carried(plan.recipe, artifacts, begun_with), fill_in_artifacts(plan.config, artifacts)
        if equal := processes.agreed(sweeps.equal_run(filled)):
            if processes.rank() > 0:
                return {}
            metrics = sweeps.take_results(equal, filled)
            if report is not None and equal == Path(filled.run_dir) and _lacks_page(equal):
                with processes.alone():
                    report(equal)
            index.refresh(plan.config.paths.outputs, plan.config.run_dir)
            return metrics
        if last_of_job := processes.agreed(sweeps.cut_off(filled)):
            OmegaConf.set_readonly(filled, False)
            filled.resume = str(last_of_job)
        with _guard(checkpoint):
            run = fit.build(filled, stored_values, loggers)
            if checkpoint is not None and not refit:
                check_weights(run.parts.model, checkpoint.weights)
        results = fit.fit(run)
        if processes.rank() > 0:
            return {}
        fit.finish(run, results, report)
        index.refresh(plan.config.paths.outputs, plan.config.run_dir)
    for name in plan.stages:
        log.info("%-11s %s", f"stage {name}", artifacts[name].path)
    log.info("run folder  %s", labels.near(plan.config.run_dir))
    log.info("checkpoint  %s", labels.near(results.checkpoint))
    if plan.config.get("sweep") is None:
        log.info("next        %s", following.recommending(results.checkpoint, artifacts["sequences"]))
    return results.metrics


def _lacks_page(folder: Path) -> bool:
    """Whether a run of an earlier pass was cut off between its results and their page; those of an equal job have none."""
    return (folder / CHECKPOINTS).is_dir() and not (folder / make.FILE).is_file()


def titled(config: DictConfig) -> str:
    """What a run is, in words: ``sage with sasrec on journey, seed 42``."""
    choices = plain_choices(config)
    names = [choices.get("method"), choices.get("backbone")]
    parts = " with ".join(str(name) for name in names if name not in (None, "none")) or "a run"
    return f"{parts} on {config.dataset.name}, seed {config.seed}"


def _guard(checkpoint: Checkpoint | None) -> AbstractContextManager[None]:
    return nullcontext() if checkpoint is None else stored(checkpoint.path)


def _checkpoint(config: DictConfig) -> Checkpoint | None:
    """The checkpoint of the run that a command continues or repeats."""
    if config.resume is not None and config.refit is not None:
        raise ConfigError(
            "resume=FILE goes on with a run and refit=RUN_FOLDER repeats a finished one; leave out one of them"
        )
    if config.refit is not None:
        return open_finished(config.refit)
    return None if config.resume is None else open_last(config.resume)


def _plan(config: DictConfig, checkpoint: Checkpoint | None) -> tuple[Plan, Mapping[str, Any]]:
    """The plan of a command, or of the run that it continues or repeats, and the recipe whose stages it builds upon.

    What is left out or changed is logged. Batch extras that no term needs are a default of every run, so one is named only
    where the command line sets it.
    """
    asked, overrides = recipe_of(config), typed_overrides()
    if checkpoint is None:
        with requirements.and_missing_data(asked):
            plan = make_plan(asked)
        begun_with: Mapping[str, Any] = plan.recipe
    elif config.refit is not None:
        with stored(checkpoint.path):
            recipe, begun_with = repeated(checkpoint, asked, overrides)
            plan = make_plan(recipe, begun_with)
            refuse_places(plan, asked)
        log.info("refit of %s on all events: %d epochs, as many as its best took", recipe["refit"], checkpoint.epochs)
    else:
        with stored(checkpoint.path):
            recipe, begun_with = continued(checkpoint, asked, overrides), checkpoint.begun_with
            for difference in differences(checkpoint.recipe, recipe):
                log.warning("resuming with a change: %s", difference)
            plan = make_plan(recipe, begun_with)
            refuse_places(plan, asked)
        check_duration(checkpoint, plan.config.trainer.get("max_epochs"))
    requirements.check(plan)
    for name in plan.dropped:
        if name.startswith("data.extras.") and not any(name in override for override in overrides):
            continue
        log.info("%s has no effect in this run and is left out", name)
    idle = [] if checkpoint is not None else idle_without(plan, overrides)
    if names := [*unread(plan, overrides), *idle]:
        log.warning("nothing in this run reads %s; docs/configuration.md says what does", ", ".join(names))
    return plan, begun_with


@contextmanager
def _ctrl_c_ends_cleanly(last: Path) -> Iterator[None]:
    """Log how to resume after Ctrl-C, which Lightning turns into SystemExit, and exit with code 130."""
    try:
        yield
    except (SystemExit, KeyboardInterrupt):
        if last.is_file():
            log.warning("interrupted; go on from the last finished epoch with resume=%s", last)
        else:
            log.warning("interrupted before the first epoch ended; the same command goes on with what is prepared")
        raise SystemExit(130) from None
