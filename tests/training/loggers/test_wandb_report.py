"""A W&B report without a network: what varies, what is sent, and the command against a client of the test's own."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sage_pl.commands.door import open_program
from sage_pl.commands.wandb_report import Client, wandb_report
from sage_pl.training.loggers import wandb_run
from sage_pl.training.loggers.wandb_report import Record, Study, content, make, study, varied
from sage_pl.training.loggers.wandb_run import LoggerError, named, results

needs_workspaces = pytest.mark.skipif(
    importlib.util.find_spec("wandb_workspaces") is None, reason="wandb-workspaces is not installed"
)


def config(method: str, gamma: float, seed: int) -> dict[str, Any]:
    choices = {"method": method, "loss": f"of {method}", "logger": f"x{seed}"}
    model = {"terms": {"a": {"weight": gamma}}}
    return {"choices": choices, "loss": {"gamma": gamma}, "seed": seed, "run_dir": f"out/{seed}", "model": model}


RECORDS = [
    Record(config(method, gamma, seed), {"result/NDCG@10": 0.1, "test/full/ndcg@10": 0.1, "result/HR@10": 0.2})
    for method in ("plain", "sage")
    for gamma in (0.01, 0.1)
    for seed in (1, 2)
]


def test_what_varies_is_an_axis_once() -> None:
    keys = varied([record.config for record in RECORDS])
    assert keys == {"choices.method": ["plain", "sage"], "loss.gamma": [0.01, 0.1], "seed": [1, 2]}
    assert varied([RECORDS[0].config]) == {}


def test_records_without_results_are_refused_in_words() -> None:
    with pytest.raises(LoggerError, match="me/tea, group first has no finished run"):
        study("me", "tea", "first", [])
    with pytest.raises(LoggerError, match="no run of me/tea has test/full/ndcg@10"):
        study("me", "tea", None, [Record({}, {"train/loss": 1})])
    older = study("me", "tea", None, [Record({"seed": 1}, {"test/full/ndcg@10": 0.1})])
    assert older.results == {"test/full/ndcg@10": "NDCG@10"}


def panels(sent: dict[str, Any]) -> list[dict[str, Any]]:
    grids = [block["metadata"] for block in sent["spec"]["blocks"] if block["type"] == "panel-grid"]
    return [panel for grid in grids for panel in grid["panelBankSectionConfig"]["panels"]]


@needs_workspaces
def test_the_report_has_axes_bars_curves_and_pages() -> None:
    sent = content(make(study("me", "tea", "first", RECORDS)))
    assert (sent["entityName"], sent["projectName"], sent["displayName"]) == ("me", "tea", "first: 8 runs")
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for panel in panels(sent):
        by_kind.setdefault(panel["viewType"], []).append(panel["config"])
    (axes,) = by_kind["Parallel Coordinates Plot"]
    names = ["choices.method", "loss.gamma", "seed", "NDCG@10", "HR@10"]
    assert [axis["displayName"] for axis in axes["columns"]] == names
    assert axes["columns"][1]["accessor"] == "config:loss.value.gamma"
    assert [bars["metrics"] for bars in by_kind["Bar Chart"]] == [["result/NDCG@10"], ["result/HR@10"]]
    assert {bars["groupBy"] for bars in by_kind["Bar Chart"]} == {"choices.value.method"}
    assert {"xAxis": "epoch", "metrics": ["val/full/ndcg@10"]}.items() <= by_kind["Run History Line Plot"][0].items()
    assert by_kind["Parameter Importance"]
    assert by_kind["Media Browser"][0]["mediaKeys"] == ["report"]
    text = json.dumps(sent)
    assert '"name": "group"}, "op": "=", "value": "first"' in text
    assert "8 runs; varied: choices.method (plain, sage), loss.gamma (0.01, 0.1), seed (1, 2)." in text


class Fake:
    """W&B in the test's hands."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str | None]] = []
        self.saved: list[dict[str, Any]] = []

    def records(self, project: str, group: str | None) -> list[Record]:
        self.asked.append((project, group))
        return RECORDS

    def save(self, report: Any) -> str:
        self.saved.append(content(report))
        return "https://example.com/report"


@needs_workspaces
def test_the_command_reads_and_sends() -> None:
    client = Fake()
    assert wandb_report(["me/tea", "--group", "first"], client) == "https://example.com/report"
    assert client.asked == [("me/tea", "first")]
    assert client.saved[0]["displayName"] == "first: 8 runs"


@needs_workspaces
def test_offline_nothing_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def find(pattern: str) -> tuple[list[Any], list[Any]]:
        config_of = RECORDS[0].config
        return [SimpleNamespace(config=config_of, choices=config_of["choices"], metrics={"test/full/ndcg@10": 0.1})], []

    monkeypatch.setattr("sage_pl.commands.wandb_report.find", find)
    monkeypatch.setattr(Client, "__init__", lambda self: pytest.fail("the network was tried"))
    file = tmp_path / "report.json"
    assert "nothing was sent" in wandb_report(["me/tea", "--runs", "runs/*", "--offline", str(file)])
    sent = json.loads(file.read_text())
    assert sent["displayName"] == "tea: 1 runs"
    assert "Parallel Coordinates Plot" in file.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tea"], "got the project 'tea'; wanted ENTITY/PROJECT"),
        (["me/tea", "--offline", "x.json"], "--offline FILE needs the folders of the runs too"),
        (["me/tea"], "WANDB_MODE is offline; --offline FILE --runs PATTERN writes what would be sent"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    with pytest.raises(SystemExit) as stop:
        open_program("wandb_report", arguments)
    assert message in str(stop.value)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(LoggerError, match=r"needs the package wandb-workspaces: pip install 'sage-pl\[wandb\]'"):
        make(Study("me", "tea", None, 1, {}, {"result/NDCG@10": "NDCG@10"}))


def test_a_job_of_a_sweep_is_named_by_its_settings(tmp_path: Path) -> None:
    assert named("tea-sage-seed1", tmp_path) == "tea-sage-seed1"
    (tmp_path / ".hydra").mkdir()
    given = ["method=sage", "seed=1", "dataset=tea", "loss.gamma=0.05", "+loss.x=1", "hydra.run.dir=x", "paths.data=y"]
    (tmp_path / ".hydra" / "overrides.yaml").write_text(json.dumps(given))
    assert named("tea-sage-seed1", tmp_path) == "tea-sage-seed1 loss.gamma=0.05 loss.x=1"


def test_results_have_short_names() -> None:
    metrics = {"test/full/ndcg@10": 0.3, "test/full/ndcg@10/item_tail": 0.1, "floor/popularity/full/ndcg@10": 0.2}
    short = results(metrics)
    assert short == {"result/NDCG@10": 0.3, "result/NDCG@10 tail": 0.1, wandb_run.OVER_FLOOR: pytest.approx(0.5)}
