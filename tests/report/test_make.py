"""Pages of a run and of a comparison, made as the commands make them."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from omegaconf import OmegaConf

from sage_pl.comparison import statistics
from sage_pl.comparison.compare import compare_runs
from sage_pl.comparison.runs import read
from sage_pl.report import make
from sage_pl.report.page import LARGEST, Options
from sage_pl.report.reading import ReportError, run_subject

ROOT = Path(__file__).parent.parent.parent
ReadPage = Callable[[str], Any]


def opened(file: Path, read_page: ReadPage) -> Any:
    """The page, after the checks that hold for every page."""
    assert file.stat().st_size <= LARGEST
    text = file.read_text()
    page = read_page(text)
    assert page.problems == []
    assert len(page.ids) == len(set(page.ids))
    assert all(
        link.startswith("../") and (file.parent / unquote(link)).is_file() for link in page.loads
    )  # pages of runs
    assert "url(" not in text.split("</style>")[0]
    assert "@import" not in text
    assert all(own.get("aria-label") or own.get("aria-hidden") for own in page.of("svg"))
    assert all("scope" in own for own in page.of("th"))
    assert all(own["href"][1:] in page.ids for own in page.of("a") if own["href"].startswith("#"))
    assert not re.search(r"(?<![\w.…])/(home|root|tmp|work|usr|var)/", page.text), "an absolute path"
    labels = [own["aria-labelledby"] for own in page.of("section")]
    assert labels
    assert set(labels) <= set(page.ids)
    assert page.of("html")[0]["lang"] == "en"
    assert len(page.of("h1")) == 1
    return page


@pytest.mark.slow
def test_training_writes_a_page_by_its_switch(runs: dict[str, Path], read_page: ReadPage) -> None:
    page = opened(runs["plain"] / "report.html", read_page)
    assert not (runs["sage"] / "report.html").exists()
    assert "Plain SASRec on world0" in page.text
    assert "Run · method plain · backbone sasrec · dataset folder · seed" in page.text
    assert "NDCG@10" in page.text


def test_what_a_run_does_not_have_is_a_sentence(runs: dict[str, Path], read_page: ReadPage) -> None:
    page = opened(runs["plain"] / "report.html", read_page)
    assert "Clusters of items. Nothing in this run uses the artifact cluster." in page.text
    assert "Prototypes and tail items. No loss term of this run pulls items to prototypes." in page.text
    assert "There is nothing to show from before: no run here reads text" in page.text
    assert not any("clusters" in name for name in page.ids)


def test_a_run_shows_everything_it_has(runs: dict[str, Path], read_page: ReadPage, tmp_path: Path) -> None:
    page = opened(make.of_run(runs["sage"], Options(map_items=30, examples=2), tmp_path), read_page)
    sections = ("results", "data", "examples", "lists", "research")
    assert [f"c-folder-{name}" for name in sections] == [own["id"] for own in page.of("section")]
    research = ("groups", "training", "embeddings", "forgetting", "clusters", "prototypes", "costs", "provenance")
    assert [f"c-folder-{name}" for name in research] == [
        o["id"] for o in page.of("div") if o.get("class") == "research"
    ]
    metrics = json.loads((runs["sage"] / "metrics.json").read_text())
    for name in ("full/ndcg@10", "sampled10/hr@10", "full/ndcg@10/item_tail"):
        assert f"{100 * metrics[f'test/{name}']:.2f}" in page.text, name
    for term in ("Recommendation", "Distillation, weight 0.1", "Alignment, weight 0.1", "Prototype, weight 0.05"):
        assert term in page.text
    for chart in ("Text: effective rank", "Scored vectors", "View id", "View text"):
        assert chart in page.text
    assert "Coloured by cluster" in page.text
    assert "python train.py dataset=folder" in page.text
    assert json.loads((runs["sage"] / "footprint.json").read_text())["versions"]["torch"] in page.text


def test_a_comparison_shows_both_sides(comparison: Path, read_page: ReadPage) -> None:
    page = opened(make.of_comparison(comparison, Options(maps=False)), read_page)
    assert "SAGE against plain on world0" in page.text
    record = json.loads((comparison / "comparison.json").read_text())
    for value in record["values"]:
        if value["group"] == "overall":
            assert f"{100 * value['mean']:.2f}" in page.text
    assert "picks" in page.text
    assert "sage minus plain" in page.text
    assert "Neither finds it" in page.text
    assert page.text.count("answer at rank") % 2 == 0
    with pytest.raises(ReportError, match="focus is 'pad', wanted one of sage"):
        make.of_comparison(comparison, Options(maps=False, focus="pad"))


def test_a_sweep_over_a_number_is_a_curve_with_intervals(
    runs: dict[str, Path], read_page: ReadPage, tmp_path: Path
) -> None:
    """Three copies of a run that say other learning rates: a point each, and the band around them."""
    for lr in ("0.001", "0.01", "0.003"):
        shutil.copytree(runs["plain"], tmp_path / lr)
        config = (tmp_path / lr / "config.yaml").read_text()
        text = re.sub(r"(?m)^(optimizer:\n(?:  .*\n)*?  lr: ).*$", rf"\g<1>{lr}", config)
        (tmp_path / lr / "config.yaml").write_text(text)
    options = OmegaConf.load(ROOT / "conf" / "compare.yaml")
    del options["hydra"], options["defaults"]
    given = {"runs": [f"{tmp_path}/0*"], "folder": str(tmp_path / "c"), "resamples": 100, "baseline": "floor"}
    given |= {"by": ["method", "optimizer.lr"]}
    compare_runs(OmegaConf.to_container(OmegaConf.merge(options, given), resolve=True))  # type: ignore[arg-type]
    made = make.of_comparison(tmp_path / "c", Options(maps=False))
    page = opened(made, read_page)
    assert "NDCG@10 over optimizer.lr" in page.text
    assert "Line chart over optimizer.lr 0.001, 0.003, 0.01" in made.read_text()
    assert 'class="s0 band"' in made.read_text()
    record = json.loads((tmp_path / "c" / "comparison.json").read_text())
    (mean,) = {v["mean"] for v in record["values"] if v["group"] == "overall" and v["metric"] == "ndcg@10"
               and v["protocol"] == "full" and v["seeds"]}  # fmt: skip
    assert made.read_text().count(f"plain, optimizer.lr 0.003: {100 * mean:.4g}") >= 1


def test_published_figures_and_failed_runs_are_shown(comparison: Path, read_page: ReadPage, tmp_path: Path) -> None:
    record = json.loads((comparison / "comparison.json").read_text())
    row = {"labels": ["SASRec", "SAGE"], "origin": "printed", "values": [0.1234, None], "marks": ["", ""]}
    own = {**row, "origin": "ours", "values": [0.2, 0.25], "marks": ["* ‡", ""]}
    paper = {"title": "Table 1", "source": "A paper", "labels": ["Backbone", "Model"], "columns": ["H@10", "N@10"]}
    record |= {"tables": [{**paper, "rows": [row, own]}], "unfinished": [{"folder": "runs/pad", "reason": "diverged"}]}
    (tmp_path / "comparison.json").write_text(json.dumps(record))
    page = opened(make.of_comparison(tmp_path, Options(maps=False)), read_page)
    assert "Beside published figures Table 1. A paper. * is above the noise of seeds" in page.text
    assert "no gain is claimed from it. Backbone Model origin H@10 N@10" in page.text
    assert "SASRec SAGE printed 0.1234 – SASRec SAGE ours 0.2000 * ‡ 0.2500" in page.text
    assert "runs/pad: diverged" in page.text


def test_without_a_baseline_the_page_says_which_there_are(
    comparison: Path, read_page: ReadPage, tmp_path: Path
) -> None:
    record = json.loads((comparison / "comparison.json").read_text())
    gone = ("baseline", "difference", "difference_low", "difference_high", "p_holm", "mark")
    record["values"] = [{k: v for k, v in value.items() if k not in gone} for value in record["values"]]
    (tmp_path / "comparison.json").write_text(json.dumps(record))
    page = opened(make.of_comparison(tmp_path, Options(maps=False)), read_page)
    assert "Unclear No system is compared" in page.text
    assert "baseline=... of plain and sage." in page.text
    record["about"]["baseline"] = "None"
    (tmp_path / "comparison.json").write_text(json.dumps(record))
    page = opened(make.of_comparison(tmp_path, Options(maps=False)), read_page)
    assert "No system is compared" not in page.text


def test_every_system_has_its_own_baseline(comparison: Path, read_page: ReadPage, tmp_path: Path) -> None:
    record = json.loads((comparison / "comparison.json").read_text())
    text = json.dumps(record)
    other = json.loads(text.replace('"plain"', '"plain/gru4rec"').replace('"sage"', '"sage/gru4rec"'))
    record["values"] += [value for value in other["values"] if value["system"] != "popularity"]
    record["runs"]["folder"] |= other["runs"]["folder"]
    (tmp_path / "comparison.json").write_text(json.dumps(record))
    page = opened(make.of_comparison(tmp_path, Options(maps=False, focus="sage/gru4rec")), read_page)
    assert "sage minus plain" in page.text
    assert "sage/gru4rec minus plain/gru4rec" in page.text
    assert "sage/gru4rec finds the answer, plain/gru4rec does not" in page.text
    assert "Differences are to plain or plain/gru4rec" in page.text


def test_a_comparison_and_its_runs_link_to_each_other(
    runs: dict[str, Path], read_page: ReadPage, tmp_path: Path
) -> None:
    for method, folder in runs.items():
        shutil.copytree(folder, tmp_path / "a run" / method)
    shutil.copy(runs["plain"] / "report.html", tmp_path / "a run" / "plain" / "report.html")
    options = OmegaConf.load(ROOT / "conf" / "compare.yaml")
    del options["hydra"], options["defaults"]
    given = {"runs": [f"{tmp_path}/a run/*"], "folder": str(tmp_path / "c"), "resamples": 100}
    compare_runs(OmegaConf.to_container(OmegaConf.merge(options, given), resolve=True))  # type: ignore[arg-type]
    page = opened(make.of_comparison(tmp_path / "c", Options(maps=False)), read_page)
    links = [own["href"] for own in page.of("a") if not own["href"].startswith("#")]
    assert links == ["../a%20run/plain/report.html"]
    assert "A run without a link has no page yet" in page.text
    run = tmp_path / "a run" / "plain" / "report.html"
    for _ in range(2):  # made again, the page keeps its link
        back = read_page(run.read_text())
        assert [own["href"] for own in back.of("a") if not own["href"].startswith("#")] == ["../../c/report.html"]
        assert "Compared in: SAGE against plain on world0" in back.text
        make.of_run(run.parent, Options(maps=False))
    (tmp_path / "c" / "report.html").unlink()
    make.of_run(run.parent, Options(maps=False))
    assert "Compared in" not in run.read_text()


def test_a_run_has_one_interval_on_both_pages(runs: dict[str, Path], tmp_path: Path) -> None:
    options = OmegaConf.load(ROOT / "conf" / "compare.yaml")
    assert options.resamples == statistics.RESAMPLES
    del options["hydra"], options["defaults"]
    given = {"runs": [str(runs["sage"])], "folder": str(tmp_path), "baseline": None}
    compare_runs(OmegaConf.to_container(OmegaConf.merge(options, given), resolve=True))  # type: ignore[arg-type]
    alone = run_subject(read(runs["sage"]), ["ndcg@10"], statistics.RESAMPLES, Options().seed)
    values = json.loads((tmp_path / "comparison.json").read_text())["values"]
    compared = {
        v["group"]: v for v in values if v["system"] == "sage" and v["metric"] == "ndcg@10" and v["protocol"] == "full"
    }
    for group in ("overall", "item_tail", "user_short"):
        one = alone.find("sage/sasrec", group)
        assert one is not None
        assert (one.low, one.high) == (compared[group]["low"], compared[group]["high"])


def test_the_command(runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = str(ROOT / "scripts" / "report.py")
    arguments = [f"run={runs['sage']}", "maps=false", f"folder={tmp_path / 'out'}", f"hydra.run.dir='{tmp_path}'"]
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    runpy.run_path(script, run_name="__main__")
    assert (tmp_path / "out" / "report.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "run=FOLDER or comparison=FOLDER"),
        (["run=nowhere"], "nowhere is not a finished run (no config.yaml"),
        (["comparison=nowhere"], "nowhere is no comparison (no comparison.json)"),
    ],
)
def test_mistakes_are_one_line(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    arguments: list[str],
    message: str,
) -> None:
    script = str(ROOT / "scripts" / "report.py")
    monkeypatch.setattr(sys, "argv", [script, *arguments, f"hydra.run.dir='{tmp_path}'"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(script, run_name="__main__")
    assert stop.value.code == 1
    assert message in (tmp_path / "report.log").read_text()


def test_a_page_that_cannot_be_made_ends_no_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make.after_run("run", "quick")(tmp_path)
    assert "no report" in caplog.text
    assert "is not a finished run" in caplog.text
    with pytest.raises(ReportError, match="report is 'fast'; wanted full, quick or null"):
        make.after_run("run", "fast")


def test_runs_that_are_gone_are_named(
    comparison: Path, runs: dict[str, Path], read_page: ReadPage, tmp_path: Path
) -> None:
    record = json.loads((comparison / "comparison.json").read_text())
    record["runs"] = {"folder": {"plain": [str(runs["plain"])], "sage": [str(tmp_path / "gone")]}}
    (tmp_path / "comparison.json").write_text(json.dumps(record))
    page = opened(make.of_comparison(tmp_path, Options(maps=False)), read_page)
    assert "gone is not a finished run" in page.text
    record["runs"]["folder"].pop("plain")
    (tmp_path / "comparison.json").write_text(json.dumps(record))
    with pytest.raises(ReportError, match="none of the runs of"):
        make.of_comparison(tmp_path, Options(maps=False))
    (tmp_path / "comparison.json").write_text(json.dumps({"values": [], "lines": {}}))
    with pytest.raises(ReportError, match="has no runs, as older versions wrote it"):
        make.of_comparison(tmp_path, Options())


def test_without_checkpoint_artifacts_and_lists_the_rest_is_shown(
    runs: dict[str, Path], read_page: ReadPage, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(runs["sage"], folder)
    for path in ("recommended.npy", "checkpoints/best.ckpt", "metrics.csv", "footprint.json", ".hydra/overrides.yaml"):
        (folder / path).unlink()
    page = opened(make.of_run(folder, Options()), read_page)
    assert "holds no recommended.npy; scripts/evaluate.py" in page.text
    assert "best.ckpt, which is missing" in page.text
    assert "Training. The run has no values by epoch" in page.text
    assert "No command on record" in page.text
    assert "most typical titles" in page.text


def test_ranks_of_an_older_version_are_refused(runs: dict[str, Path], tmp_path: Path) -> None:
    import polars as pl

    folder = tmp_path / "run"
    shutil.copytree(runs["plain"], folder)
    pl.read_parquet(folder / "ranks.parquet").drop("history").write_parquet(folder / "ranks.parquet")
    with pytest.raises(ReportError, match=r"ranks.parquet lacks history, .* scripts/evaluate.py"):
        make.of_run(folder, Options())
