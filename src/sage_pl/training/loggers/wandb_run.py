"""A run's record in Weights & Biases: checked at the start, continued by a resumed run, completed at the end."""

from __future__ import annotations

import importlib.util
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from sage_pl import hosts
from sage_pl.artifacts.files import write_text
from sage_pl.artifacts.plain import read_yaml
from sage_pl.errors import UserError
from sage_pl.evaluation.floors import best_floor, label
from sage_pl.evaluation.table import select

if TYPE_CHECKING:
    import wandb

log = logging.getLogger(__name__)
ID_FILE = "wandb_id"  # in the run's folder
_FIGURES = ("ndcg@10", "hr@10")
RESULTS = {  # name in the summary, for tables and parallel coordinates -> that of metrics.json
    "result/NDCG@10": "test/full/ndcg@10",
    "result/NDCG@10 head": "test/full/ndcg@10/item_head",
    "result/NDCG@10 tail": "test/full/ndcg@10/item_tail",
    "result/NDCG@10 unseen": "test/full/ndcg@10/item_unseen",
    "result/HR@10": "test/full/hr@10",
}
OVER_FLOOR = "result/NDCG@10 over the floor"  # as a share of it
_LONGEST = 120  # characters of a record's name; W&B takes 128
_NAMED = ("dataset", "method", "backbone", "seed", "logger", "report", "sweep", "resume", "experiment")
_UNNAMED = ("hydra.", "paths.", "dataset.", "logger.")
_RUN = "this run"


class LoggerError(UserError, RuntimeError):
    """No record is possible; the message names the remedy."""


class WandbRun(WandbLogger):
    """Lightning's W&B logger with the project's conventions.

    The record's id is in ``<run_dir>/wandb_id``; a resumed run continues the record of the run that wrote its checkpoint, if
    there is one. ``wandb sync`` merges offline records of one id.

    Args:
        run_dir: the run's folder; the record is in its folder ``wandb/``.
        project, name, tags: see ``wandb.init``.
        group: the run's sweep, if any.
        job_type: ``run`` or the name of a stage.
        resume: the checkpoint the run continues from, ``<its run_dir>/checkpoints/last.ckpt``.
        mode: ``online``, ``offline`` or ``disabled``; None: the environment's WANDB_MODE, else online.

    Raises:
        LoggerError: the package is absent, or W&B is online and rejects the login.
    """

    def __init__(
        self,
        run_dir: str,
        project: str,
        name: str | None = None,
        tags: Sequence[str] = (),
        group: str | None = None,
        job_type: str | None = None,
        resume: str | None = None,
        mode: str | None = None,
    ) -> None:
        check(mode)
        self.id_file = Path(run_dir) / ID_FILE
        earlier = None if resume is None else Path(resume).parent.parent / ID_FILE
        super().__init__(
            name=name if group is None or name is None else named(name, Path(run_dir)),
            save_dir=run_dir,
            project=project,
            id=earlier.read_text() if earlier is not None and earlier.is_file() else None,
            tags=list(tags),
            group=group,
            job_type=job_type,
            mode=mode,
            settings={"quiet": True},
        )
        del self._wandb_init["anonymous"]  # Lightning's, which W&B warns about

    @rank_zero_only
    def log_hyperparams(self, params: Any) -> None:
        with _one_line():
            super().log_hyperparams(params)  # starts the record
        write_text(self.id_file, self.experiment.id)

    @rank_zero_only
    def finish_run(self, folder: Path, metrics: Mapping[str, float], artifacts: Mapping[str, Path]) -> None:
        """Add the results of a finished run and end the record, so that the next run of this process starts its own.

        - ``result/...`` of the summary: the main results under short names, and the share above the best floor.
        - ``groups/<protocol>``: every metric of every group, beside the best floor, as a table and as bars.
        - ``report``: ``report.html``, where the run has one.
        - artifacts and the best checkpoint by reference: their place and key are uploaded, their content is not.

        The results are in the folder already, so every error here is a warning.

        Args:
            folder: the run's folder.
            metrics: as in ``metrics.json``.
            artifacts: name -> folder, whose name is the key.
        """
        steps = (
            lambda: self._add_results(folder, metrics),
            lambda: self._add_artifacts(folder, artifacts),
            self._end,
        )
        for step in steps:
            try:
                step()
            except Exception as error:  # noqa: BLE001 - an error of the record must not fail a finished run
                log.warning("the Weights & Biases record is incomplete: %s; all results are in %s", error, folder)

    def _end(self) -> None:
        run = self.experiment
        run.finish()
        if run.offline:
            log.info("wandb       offline; to upload it: wandb sync %s", Path(run.dir).parent)
        elif run.url:
            log.info("wandb       %s", run.url)

    def _add_results(self, folder: Path, metrics: Mapping[str, float]) -> None:
        import wandb

        run = self.experiment
        run.summary.update({name: value for name, value in metrics.items() if name.startswith("floor/")})
        run.summary.update(results(metrics))
        for protocol, (columns, rows) in tables(metrics).items():
            run.log({f"groups/{protocol}": wandb.Table(columns=columns, data=rows)})
            for metric in (metric for metric in _FIGURES if metric in columns):
                at = columns.index(metric)
                data = [[row[1], row[at]] for row in rows if row[0] == _RUN]
                bars = wandb.Table(columns=["group", metric], data=data)
                chart = wandb.plot.bar(bars, "group", metric, title=f"{metric}, {protocol}")
                run.log({f"figures/{protocol}/{metric}": chart})
        if (report := folder / "report.html").is_file():
            run.log({"report": wandb.Html(report, inject=False)})

    def _add_artifacts(self, folder: Path, artifacts: Mapping[str, Path]) -> None:
        for name, path in artifacts.items():
            self.experiment.log_artifact(reference(f"{name}-{path.name}", name, path, path.name))
        best = folder / "checkpoints" / "best.ckpt"
        if best.is_file():
            self.experiment.log_artifact(reference(f"model-{self.experiment.id}", "model", best, self.experiment.id))


def named(name: str, folder: Path) -> str:
    """A record's name with the settings of its job in a sweep: ``beauty-sage-sasrec-seed42 loss.gamma=0.05``.

    Args:
        name: of data set, method, backbone and seed.
        folder: of the run; Hydra's record of its overrides is in it.
    """
    file = folder / ".hydra" / "overrides.yaml"
    overrides = [str(one).lstrip("+") for one in (read_yaml(file) if file.is_file() else [])]
    more = [one for one in overrides if one.partition("=")[0] not in _NAMED and not one.startswith(_UNNAMED)]
    return " ".join([name, *more])[:_LONGEST]


def results(metrics: Mapping[str, float]) -> dict[str, float]:
    """The main results by their short names, and NDCG@10 above the best floor's, as a share of it."""
    values = {short: metrics[name] for short, name in RESULTS.items() if name in metrics}
    if "test/full/ndcg@10" in metrics and (floor := metrics.get(f"floor/{best_floor(metrics, 'full')}/full/ndcg@10")):
        values[OVER_FLOOR] = metrics["test/full/ndcg@10"] / floor - 1
    return values


def check(mode: str | None = None, what: str = "logger=wandb") -> None:
    """Check that a record is possible: the package is installed, and the login is accepted unless W&B is offline.

    Args:
        mode: of the record; None: the environment's.
        what: needs W&B, for messages.

    Raises:
        HostError: the process may not contact W&B.
        LoggerError: it is not; the message names the remedy.
    """
    if importlib.util.find_spec("wandb") is None:
        raise LoggerError(f"{what} needs the package wandb: pip install 'sage-pl[wandb]', or choose logger=csv")
    import wandb

    if (mode or wandb.setup().settings.mode) in ("offline", "disabled"):
        return
    hosts.require(wandb.setup().settings.base_url)
    with _one_line():
        if not wandb.login(prompt=False):
            raise LoggerError(
                f"{what} has no login: run `wandb login`, set WANDB_API_KEY, or set WANDB_MODE=offline, which "
                "needs neither account nor network"
            )


@contextmanager
def _one_line() -> Iterator[None]:
    import wandb

    try:
        yield
    except wandb.errors.Error as error:
        reason = str(error).splitlines()[0]
        text = f"logger=wandb cannot start ({reason}); WANDB_MODE=offline needs neither account nor network"
        raise LoggerError(text) from error


def reference(name: str, kind: str, path: Path, key: str) -> wandb.Artifact:
    """An artifact that holds the path and key of a file or folder, without its content."""
    import wandb

    artifact = wandb.Artifact(name, type=kind, metadata={"key": key})
    artifact.add_reference(path.resolve().as_uri(), checksum=False)
    return artifact


def tables(metrics: Mapping[str, float]) -> dict[str, tuple[list[Any], list[list[Any]]]]:
    """Protocol -> columns and rows: one row per system (``this run``, ``floor: <the best>``) and group, one column per metric.

    Args:
        metrics: ``test/full/ndcg@10/item_tail``, ``floor/popularity/full/ndcg@10`` and so on; protocols without counts,
            such as ``lists``, are ignored.
    """
    by_protocol: dict[str, dict[tuple[str, str], dict[str, float]]] = {}
    for protocol in dict.fromkeys(name.split("/")[1] for name in metrics if name.startswith("test/")):
        floor = best_floor(metrics, protocol)
        for system, prefix in ((_RUN, f"test/{protocol}"), (label(floor), f"floor/{floor}/{protocol}")):
            for name, value in select(metrics, prefix).items():
                metric, group = (*name.split("/"), "overall")[:2]
                by_protocol.setdefault(protocol, {}).setdefault((system, group), {})[metric] = value
    result: dict[str, tuple[list[Any], list[list[Any]]]] = {}
    for protocol, cells in by_protocol.items():
        if all("count" in values for values in cells.values()):
            names = list(dict.fromkeys(name for values in cells.values() for name in values))
            rows = [[*who, *(values.get(name) for name in names)] for who, values in cells.items()]
            result[protocol] = (["system", "group", *names], rows)
    return result


def log_comparison(folder: Path, project: str, group: str | None = None) -> None:
    """Record a comparison: every value of ``comparison.json`` as the table ``comparison``, and its report.

    Args:
        folder: the files of :mod:`sage_pl.comparison.files`.
        project: the project of the runs.
        group: the compared sweep, if any.

    Raises:
        LoggerError: see :func:`check`.
    """
    check()
    import wandb

    values = json.loads((folder / "comparison.json").read_text())["values"]
    name = f"comparison {group or ''}".strip()
    with _one_line(), wandb.init(project=project, group=group, job_type="comparison", name=name, dir=folder) as run:
        run.log({"comparison": wandb.Table(columns=list(values[0]), data=[list(value.values()) for value in values])})
        if (report := folder / "report.html").is_file():
            run.log({"report": wandb.Html(report, inject=False)})
