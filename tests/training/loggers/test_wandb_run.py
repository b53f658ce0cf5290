from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from sage_pl.training.loggers.wandb_run import LoggerError, WandbRun, check, log_comparison, tables
from tests.training.loggers.wandb_records import read

wandb = pytest.importorskip("wandb")
METRICS = {
    "test/full/count": 60.0,
    "test/full/ndcg@10": 0.25,
    "test/full/count/item_tail": 20.0,
    "test/full/ndcg@10/item_tail": 0.125,
    "test/lists/coverage@10": 0.5,
    "floor/popularity/full/count": 60.0,
    "floor/popularity/full/ndcg@10": 0.0625,
}
ROWS = [
    ["this run", "overall", 60, 0.25],
    ["this run", "item_tail", 20, 0.125],
    ["floor: popularity", "overall", 60, 0.0625],
]


@pytest.fixture(autouse=True)
def _nothing_stays_open() -> Iterator[None]:
    yield
    wandb.finish()


def logger(folder: Path, resume: Path | None = None) -> WandbRun:
    more = {} if resume is None else {"resume": str(resume)}
    return WandbRun(str(folder), "sage-pl", "a name", ["tea", "seed1"], "a sweep", "run", mode="offline", **more)


def test_tables_by_hand() -> None:
    assert tables(METRICS) == {"full": (["system", "group", "count", "ndcg@10"], ROWS)}


def test_a_record_holds_names_steps_and_media(tmp_path: Path) -> None:
    folder, artifact = tmp_path / "run", tmp_path / "sequences" / "5e9"
    for path in (folder, artifact, folder / "checkpoints"):
        path.mkdir(parents=True)
    for path in (artifact / "values.npy", folder / "checkpoints" / "best.ckpt"):
        path.write_text("x")
    (folder / "report.html").write_text("<h1>A report</h1>")

    kept = logger(folder)
    kept.log_hyperparams({"seed": 1, "loss": {"alpha": 0.1}})
    kept.log_metrics({"train/loss": 2.0}, step=7)
    kept.finish_run(folder, METRICS, {"sequences": artifact})

    (record,) = read(folder)
    assert record.run["run_id"] == (folder / "wandb_id").read_text()
    assert (record.run["project"], record.run["run_group"], record.run["job_type"]) == ("sage-pl", "a sweep", "run")
    assert (record.run["display_name"], record.run["tags"]) == ("a name", ["tea", "seed1"])
    assert record.config["seed"] == 1
    assert record.config["loss"]["alpha"] == 0.1
    assert {"train/loss": 2, "trainer/global_step": 7}.items() <= record.history[0].items()
    media = {
        name.removesuffix("._type"): item[name] for item in record.history for name in item if name.endswith("._type")
    }
    assert media == {"groups/full": "table-file", "figures/full/ndcg@10_table": "table-file", "report": "html-file"}
    (table,) = folder.glob("wandb/offline-run-*/files/media/table/groups/full_*.json")
    assert json.loads(table.read_text())["data"] == ROWS
    (page,) = folder.glob("wandb/offline-run-*/files/media/html/report_*.html")
    assert page.read_text() == "<h1>A report</h1>"
    named = record.artifacts["sequences-5e9"]
    assert (named["type"], json.loads(named["metadata"])) == ("sequences", {"key": "5e9"})
    assert named["manifest"]["contents"][0]["ref"] == (artifact / "values.npy").as_uri()
    (model,) = record.artifacts[f"model-{record.run['run_id']}"]["manifest"]["contents"]
    assert model["ref"] == (folder / "checkpoints" / "best.ckpt").as_uri()
    assert record.summary["floor/popularity/full/ndcg@10"] == 0.0625
    assert record.exit_code == 0


def test_a_resumed_run_continues_the_record_of_the_run_it_continues(tmp_path: Path) -> None:
    for folder, resume in (
        ("first", None),
        ("again", tmp_path / "first" / "checkpoints" / "last.ckpt"),
        ("other", None),
    ):
        kept = logger(tmp_path / folder, resume)
        kept.log_hyperparams({})
        kept.finish_run(tmp_path / folder, {}, {})
    first, again, other = ((tmp_path / name / "wandb_id").read_text() for name in ("first", "again", "other"))
    assert first == again != other
    assert [record.run["run_id"] for record in read(tmp_path / "again")] == [first]


def test_a_record_that_fails_at_the_end_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(**_: object) -> None:
        raise OSError("no space left")

    kept = logger(tmp_path)
    kept.log_hyperparams({})
    monkeypatch.setattr(wandb, "Table", broken)
    with caplog.at_level(logging.WARNING):
        kept.finish_run(tmp_path, METRICS, {})
    assert f"record is incomplete: no space left; all results are in {tmp_path}" in caplog.text
    assert wandb.run is None  # ended all the same


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(LoggerError, match=r"pip install 'sage-pl\[wandb\]'"):
        check()


@pytest.mark.parametrize("mode", ["offline", "disabled"])
def test_nobody_is_asked_for_a_login_offline(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wandb, "login", lambda **_: pytest.fail("asked"))
    check(mode)


def refused(**_: object) -> bool:
    raise wandb.errors.AuthenticationError("invalid key\nmore")


@pytest.mark.parametrize(
    ("login", "answer"),
    [
        (lambda **_: False, "no login.*wandb login.*WANDB_MODE=offline"),
        (refused, r"\(invalid key\); WANDB_MODE=offline"),
    ],
)
def test_a_login_that_is_missing_or_refused_is_one_line(
    login: object, answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wandb, "login", login)
    with pytest.raises(LoggerError, match=answer) as error:
        check("online")
    assert "\n" not in str(error.value)


def test_what_the_environment_says_decides_without_a_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        wandb,
        "setup",
        lambda: SimpleNamespace(settings=SimpleNamespace(base_url="https://api.wandb.ai", mode="online")),
    )
    monkeypatch.setattr(wandb, "login", lambda **_: False)
    with pytest.raises(LoggerError):
        check()


def test_a_comparison_is_a_record_of_its_own(tmp_path: Path) -> None:
    values = [
        {"system": "popularity", "group": "overall", "mean": 0.1, "p": None},
        {"system": "0.05", "group": "overall", "mean": 0.2, "p": 0.04},
    ]
    (tmp_path / "comparison.json").write_text(json.dumps({"values": values}))
    log_comparison(tmp_path, "sage-pl", "a sweep")
    (record,) = read(tmp_path)
    assert (record.run["run_group"], record.run["job_type"]) == ("a sweep", "comparison")
    (table,) = tmp_path.glob("wandb/offline-run-*/files/media/table/comparison_*.json")
    assert json.loads(table.read_text()) == {"columns": list(values[0]), "data": [list(v.values()) for v in values]}
