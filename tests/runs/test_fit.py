"""What happens after a run's results are written."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import OmegaConf

from sage_pl.data.targets import LastItem, NextItem
from sage_pl.nn.sequence_encoders.experts import Experts
from sage_pl.nn.sequence_encoders.single import SingleView
from sage_pl.runs import fit
from sage_pl.runs.checks import ConfigError
from tests.golden.prepared import make_backbone


class Record:
    """A logger that ends its record, or fails to."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.ended: list[Path] = []

    def finish_run(self, folder: Path, metrics: dict[str, float], artifacts: dict[str, Path]) -> None:
        if self.error:
            raise self.error
        self.ended.append(folder)


def finished(loggers: list[Any], report: Any) -> None:
    config = OmegaConf.create({"run_dir": "folder", "artifacts": {"sequences": "a", "embed": "???"}})
    run: Any = fit.Run(config, None, None, loggers, None)  # type: ignore[arg-type]
    results: Any = fit.Results({}, None, Path("best.ckpt"))  # type: ignore[arg-type]
    fit.finish(run, results, report)


@pytest.mark.parametrize("error", [IndexError("list index out of range"), ConfigError("no figure")])
def test_a_failing_report_is_one_warning_and_every_record_is_ended(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    def report(folder: Path) -> None:
        raise error

    first, broken, last = Record(), Record(OSError("no space left")), Record()
    finished([first, broken, last, object()], report)
    assert first.ended == last.ended == [Path("folder")]
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert "the report failed, the results are complete" in caplog.text
    assert "Record failed, the results are complete: no space left" in caplog.text
    assert bool(caplog.records[0].exc_info) is isinstance(error, IndexError)  # a bug keeps its traceback


@pytest.mark.parametrize("backbone", ["sasrec", "bert4rec"])
def test_a_backbone_that_sees_its_labels_is_found_wherever_it_stands(backbone: str) -> None:
    alone = SingleView(make_backbone(backbone), "id")
    mixed = Experts({name: make_backbone(backbone) for name in ("id", "text")})
    for encoder in (alone, mixed):
        for targets in (NextItem(), LastItem()):
            model: Any = SimpleNamespace(sequence_encoder=encoder, targets=targets)
            assert fit.sees_labels(model) is (backbone == "bert4rec" and type(targets) is NextItem)
