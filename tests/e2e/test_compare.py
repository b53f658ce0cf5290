"""The command compare on folders written here: no training."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from omegaconf import OmegaConf

from sage_pl.artifacts.store import Artifact
from sage_pl.comparison.compare import compare_runs
from sage_pl.comparison.runs import RunError
from sage_pl.data.sequences import Sequences
from sage_pl.errors import SettingError
from sage_pl.evaluation.groups import Groups
from sage_pl.evaluation.metrics import summarise
from sage_pl.evaluation.popularity import popularity_ranks
from sage_pl.evaluation.results import cases_frame, floor_metrics, write_results

ROOT = Path(__file__).parent.parent.parent
N_USERS, N_ITEMS = 200, 80
MakeRun = Callable[..., Path]


def write_data(folder: Path, name: str) -> tuple[Path, Path]:
    """The artifacts ``sequences`` and ``candidates`` of a small data set of skewed popularity."""
    generator = np.random.default_rng(len(name))
    lengths = np.array([0, *generator.integers(3, 45, N_USERS)])
    ids = np.arange(1, N_USERS + 1)
    sequences, candidates = folder / "sequences" / f"{name}5e9", folder / "candidates" / f"{name}ca1"
    arrays = {
        "values": 1 + (N_ITEMS * generator.random(lengths.sum()) ** 3).astype(np.int32),
        "offsets": np.concatenate([[0], np.cumsum(lengths)]),
        "train_end": np.maximum(lengths - 2, 0),
        **{"valid_user": ids, "valid_at": lengths[1:] - 2, "test_user": ids, "test_at": lengths[1:] - 1},
    }
    for path in (sequences, candidates):
        path.mkdir(parents=True)
        (path / "manifest.json").write_text(json.dumps({"key": path.name}))
    for array, values in arrays.items():
        np.save(sequences / f"{array}.npy", values)
    pl.DataFrame({"item": range(1, N_ITEMS + 1)}).write_parquet(sequences / "items.parquet")
    np.save(candidates / "test.npy", generator.integers(1, N_ITEMS + 1, (N_USERS, 100)).astype(np.int32))
    return sequences, candidates


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Writes a finished run whose model finds a share ``skill`` of the answers first."""
    data: dict[str, tuple[Path, Path]] = {}

    def make(
        method: str,
        seed: int,
        skill: float,
        name: str = "tea",
        backbone: str = "sasrec",
        seen: str = "keep",
        item_rule: str = "top20",
        sizes: tuple[int, int] = (N_USERS, N_ITEMS),
    ) -> Path:
        if name not in data:
            data[name] = write_data(tmp_path / "artifacts", name)
        sequences = Sequences.load(Artifact.at(data[name][0]))
        generator = np.random.default_rng([seed, len(method), len(backbone)])
        misses = generator.random(N_USERS) >= skill
        ranks = {
            p: np.where(misses, generator.integers(11, n, N_USERS), 1) for p, n in (("full", 80), ("sampled100", 101))
        }
        rules = {"item_rule": item_rule, "count": "train", "ts_item": 60, "ts_user": 9}
        groups = Groups(sequences, sequences.test, **rules)  # type: ignore[arg-type]
        tested = {f"test/{p}/{key}": v for p, r in ranks.items() for key, v in summarise(r, groups).items()}
        candidates = np.load(data[name][1] / "test.npy")
        floor = popularity_ranks(sequences, sequences.test, candidates, seen == "mask")
        tested |= {"test/lists/coverage@10": skill + 0.01 * seed} | floor_metrics({"popularity": floor}, groups)
        folder = tmp_path / "runs" / f"{name}-{method}-{backbone}-{seed}"
        write_results(folder, tested, cases_frame(sequences.test, ranks, {"popularity": floor}, groups.facts))
        config = {
            "seed": seed,
            "dataset": {"name": name},
            "catalog": dict(zip(("n_users", "n_items"), sizes, strict=True)),
            "artifacts": dict(zip(("sequences", "candidates"), map(str, data[name]), strict=True)),
            "evaluation": {"ks": [5, 10, 20], "seen": seen, "sampled": 100, "seed": 0, "groups": rules},
        }
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        (folder / ".hydra").mkdir()
        choices = {"hydra": {"runtime": {"choices": {"method": method, "backbone": backbone, "dataset": name}}}}
        (folder / ".hydra" / "hydra.yaml").write_text(yaml.safe_dump(choices))
        return folder

    return make


@pytest.fixture
def compare(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """The comparison in this process; returns comparison.json."""

    def run(table: str | None = None, **changes: Any) -> dict[str, Any]:
        config = OmegaConf.load(ROOT / "conf" / "compare.yaml")
        del config["hydra"]
        if table is not None:
            config = OmegaConf.merge(config, OmegaConf.load(ROOT / "conf" / "table" / f"{table}.yaml"))
        given = {"runs": f"{tmp_path}/runs/**", "folder": str(tmp_path / "out"), "resamples": 200}
        compare_runs(OmegaConf.to_container(OmegaConf.merge(config, given, changes), resolve=True))  # type: ignore[arg-type]
        return json.loads((tmp_path / "out" / "comparison.json").read_text())

    return run


def value(record: dict[str, Any], system: str, group: str = "overall", **others: str) -> dict[str, Any]:
    wanted = {"system": system, "group": group, "metric": "ndcg@10", "protocol": "full", "dataset": "tea", **others}
    (found,) = [v for v in record["values"] if all(v[key] == w for key, w in wanted.items())]
    return found


def remarks(record: dict[str, Any], *parts: str) -> bool:
    return any(all(part in remark for part in parts) for remark in record["remarks"])


def pair(make_run: MakeRun, seeds: Sequence[int] = (1, 2), **more: str) -> list[Path]:
    """A weak and a strong system; returns the runs of the strong one."""
    for seed in seeds:
        make_run("plain", seed, 0.2, **more)
    return [make_run("sage", seed, 0.7, **more) for seed in seeds]


def test_the_command(make_run: MakeRun, tmp_path: Path) -> None:
    pair(make_run)
    command = [sys.executable, "-X", "importtime", str(ROOT / "scripts" / "compare.py"), f"runs={tmp_path}/runs/**"]
    more = ["by=method", "baseline=plain", "resamples=200", f"hydra.run.dir='{tmp_path}/out'"]
    done = subprocess.run([*command, *more], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert "sage_pl.comparison.compare" in done.stderr
    assert " torch\n" not in done.stderr  # it starts fast
    text = (tmp_path / "out" / "comparison.md").read_text()
    assert "| ndcg@10 | floor: popularity | – |" in text
    assert "sampled100 picks the same winner as full (sage); Kendall tau 1.00 over 2 systems" in text
    with (tmp_path / "out" / "comparison.csv").open(newline="") as stream:
        row = next(r for r in csv.DictReader(stream) if r["system"] == "sage")
    assert (row["group"], row["seeds"], row["baseline"], row["mark"]) == ("overall", "2", "plain", "*")
    assert (tmp_path / "out" / "comparison.tex").read_text().count(
        r"\begin{tabular}"
    ) == 11  # five families, two protocols, lists


def test_an_error_is_one_line(tmp_path: Path) -> None:
    command = [
        sys.executable,
        str(ROOT / "scripts" / "compare.py"),
        f"runs={tmp_path}/**",
        f"hydra.run.dir='{tmp_path}/o'",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "no finished run matches" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_runs_that_differ_in_more_than_the_seed_are_averaged_where_that_is_asked_for(
    make_run: MakeRun, compare: Callable[..., dict[str, Any]]
) -> None:
    _, second = pair(make_run)
    config = yaml.safe_load((second / "config.yaml").read_text())
    (second / "config.yaml").write_text(yaml.safe_dump({**config, "backbone_norm": {"form": "pre"}}))
    systems = {v["system"] for v in compare()["values"]}
    assert {"sage/backbone_norm.form=nothing", "sage/backbone_norm.form=pre"} <= systems
    record = compare(average_over="backbone_norm.form")
    assert value(record, "sage")["seeds"] == 2
    assert record["about"]["average over"] == "backbone_norm.form"


@pytest.mark.parametrize("seen", ["keep", "mask"])
def test_values_are_those_of_the_runs(make_run: MakeRun, compare: Callable[..., dict[str, Any]], seen: str) -> None:
    folders = pair(make_run, seen=seen)
    record = compare(metrics=["ndcg@10", "hr@5"])
    metrics = [json.loads((folder / "metrics.json").read_text()) for folder in folders]
    for group in ("item_head", "item_tail", "user_short", "user_20+", "user_long_item_head", "answer_repeat"):
        for metric, protocol in (("ndcg@10", "full"), ("hr@5", "sampled100")):
            own = value(record, "sage", group, metric=metric, protocol=protocol)
            name = f"{protocol}/{metric}/{group}"
            assert own["mean"] == pytest.approx(np.mean([m[f"test/{name}"] for m in metrics]), abs=1e-6)
            assert own["sd"] == pytest.approx(np.std([m[f"test/{name}"] for m in metrics], ddof=1), abs=1e-6)
            assert own["cases"] == metrics[0][f"test/{protocol}/count/{group}"]
            floor = value(record, "floor: popularity", group, metric=metric, protocol=protocol)
            assert floor["mean"] == pytest.approx(metrics[0][f"floor/popularity/{name}"], abs=1e-6)


def test_one_seed_only_is_not_testable(make_run: MakeRun, compare: Callable[..., dict[str, Any]]) -> None:
    pair(make_run, seeds=[1])
    record = compare()
    own = value(record, "sage")
    assert (own["seeds"], own["sd"], own["noise"], own["mark"]) == (1, None, None, "~")
    assert own["p_holm"] < 0.05
    assert remarks(record, "tea: one seed only of plain, sage: the noise of seeds is unknown", "train more seeds")


def test_empty_groups_have_no_values(make_run: MakeRun, compare: Callable[..., dict[str, Any]]) -> None:
    pair(make_run)
    empty = [v for v in compare()["values"] if v["cases"] == 0]
    assert "item_unseen" in {v["group"] for v in empty}
    assert {(v["mean"], v["low"], v["p"], v["mark"]) for v in empty} == {(None, None, None, None)}


def test_unfinished_runs_are_named(make_run: MakeRun, compare: Callable[..., dict[str, Any]]) -> None:
    pair(make_run)
    failed = make_run("plain", 3, 0.2)
    (failed / "metrics.json").unlink()
    (failed / "train.log").write_text("10:00:01 cannot rank NaN scores\n")
    record = compare()
    (one,) = record["unfinished"]
    assert one["folder"] == str(failed)
    assert "no metrics.json" in one["reason"]
    assert "cannot rank NaN scores" in one["reason"]
    assert value(record, "plain")["seeds"] == 2
    assert record["runs"]["tea"]["plain"] == [str(failed.with_name(f"tea-plain-sasrec-{seed}")) for seed in (1, 2)]


def test_mixed_data_is_refused_and_the_rest_compared(make_run: MakeRun, compare: Callable[..., dict[str, Any]]) -> None:
    pair(make_run)
    make_run("plain", 3, 0.2, seen="mask")
    make_run("plain", 1, 0.2, name="coffee")
    make_run("sage", 1, 0.2, name="coffee", seen="mask")
    record = compare()
    assert remarks(record, "tea: left out", "tea-plain-sasrec-3 (evaluation.seen is mask instead of keep)")
    assert remarks(record, "coffee is left out: its runs are not comparable", "evaluation.seen is")
    assert {v["dataset"] for v in record["values"]} == {"tea"}
    assert value(record, "plain")["seeds"] == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda frame: frame.drop("sampled100"),
            "it has no column sampled100; test it again by its command with resume=",
        ),
        (
            lambda frame: frame.select("user", "full"),
            "it has no column answer, train_count, user_count, history, repeat",
        ),
        (
            lambda frame: frame.with_columns(pl.when(pl.col("user") > 3).then("full").alias("full")),
            "metrics.json counts 200 ranked cases under full, but ranks.parquet has 197",
        ),
        (lambda frame: frame.reverse(), "its 200 ranked cases are not those of the other runs"),
        (
            lambda frame: frame.head(150),
            "tea-sage-sasrec-3 is left out: metrics.json counts 200 ranked cases under full, but ranks.parquet has 150",
        ),
        (lambda frame: frame.with_columns(full=pl.lit(1)), "the files are of different tests"),
    ],
    ids=["a protocol dropped", "no facts", "not evaluated", "other rows", "rows missing", "other ranks"],
)
def test_ranks_that_cannot_be_used(
    make_run: MakeRun,
    compare: Callable[..., dict[str, Any]],
    change: Callable[[pl.DataFrame], pl.DataFrame],
    message: str,
) -> None:
    pair(make_run)
    file = make_run("sage", 3, 0.7) / "ranks.parquet"
    change(pl.read_parquet(file)).write_parquet(file)
    record = compare()
    assert remarks(record, "tea-sage-sasrec-3", message)
    assert value(record, "sage")["seeds"] == 2


def test_damaged_ranks_and_metrics(make_run: MakeRun, compare: Callable[..., dict[str, Any]]) -> None:
    pair(make_run)
    (make_run("sage", 3, 0.7) / "ranks.parquet").write_bytes(b"PAR1")
    (make_run("sage", 4, 0.7) / "metrics.json").write_text('{"test/full/ndcg@10": NaN}')
    record = compare()
    assert remarks(record, "tea-sage-sasrec-3/ranks.parquet cannot be read")
    assert "tea-sage-sasrec-4/metrics.json holds values that are not finite" in record["unfinished"][0]["reason"]
    assert value(record, "sage")["seeds"] == 2


def test_several_keys_and_the_baseline_of_the_same_backbone(
    make_run: MakeRun, compare: Callable[..., dict[str, Any]]
) -> None:
    pair(make_run)
    pair(make_run, backbone="gru4rec")
    record = compare(by=["method", "backbone"])
    assert value(record, "sage/gru4rec")["baseline"] == "plain/gru4rec"
    assert value(record, "sage/sasrec")["baseline"] == "plain/sasrec"
    assert value(record, "plain/sasrec")["baseline"] is None
    assert (
        value(compare(by=["method", "backbone"], baseline="plain/sasrec"), "sage/gru4rec")["baseline"] == "plain/sasrec"
    )


@pytest.mark.parametrize("baseline", ["nothing", "sage/distillation", "sage/distillation/gru4rec"])
def test_parts_left_out_are_systems_and_any_of_them_is_the_baseline(
    make_run: MakeRun, compare: Callable[..., dict[str, Any]], baseline: str
) -> None:
    for seed, (without, backbone) in enumerate(product(["nothing", "sage/distillation"], ["sasrec", "gru4rec"])):
        file = make_run("sage", seed, 0.2, backbone=backbone) / "config.yaml"
        choices = {"method": "sage", "without": without, "backbone": backbone}
        file.write_text(file.read_text() + yaml.safe_dump({"choices": choices}))
    record = compare(by=["without", "backbone"], baseline=baseline)
    names = {
        "floor: popularity",
        *(f"{part}/{b}" for part in ("nothing", "sage/distillation") for b in ("sasrec", "gru4rec")),
    }
    assert {value["system"] for value in record["values"]} == names
    expected = baseline if baseline.endswith("gru4rec") else f"{baseline}/gru4rec"
    other = ({"nothing/gru4rec", "sage/distillation/gru4rec"} - {expected}).pop()
    assert value(record, other)["baseline"] == expected


def test_against_the_floor_and_against_nothing(make_run: MakeRun, compare: Callable[..., dict[str, Any]]) -> None:
    pair(make_run)
    assert value(compare(baseline="popularity"), "plain")["baseline"] == "floor: popularity"
    assert {v["mark"] for v in compare(baseline=None)["values"]} == {None}


def test_a_missing_baseline_leaves_the_values(make_run: MakeRun, compare: Callable[..., dict[str, Any]]) -> None:
    pair(make_run)
    record = compare(baseline="pad")
    assert remarks(record, "tea has no runs of the baseline pad, so nothing is tested; there are plain, sage")
    assert value(record, "sage")["mean"] == value(compare(), "sage")["mean"]
    assert {v["mark"] for v in record["values"]} == {None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metrics": ["ndgc@10"]}, "metric is 'ndgc@10'"),
        ({"by": "metod"}, "has no 'metod' to name it by"),
        ({"runs": "nowhere"}, "no finished run matches nowhere"),
        ({"resamples": 0}, "0 resamples"),
        ({"groups": ["item_tial"]}, "groups has item_tial; choose from overall, item_head, item_tail, "),
        ({"head": "top10"}, "head is 'top10'; choose from own, ts_item, reference"),
    ],
)
def test_mistakes(
    make_run: MakeRun, compare: Callable[..., dict[str, Any]], changes: dict[str, Any], message: str
) -> None:
    pair(make_run)
    with pytest.raises(SettingError, match=message):
        compare(**changes)


def test_the_folders_of_runs_are_enough(
    make_run: MakeRun, compare: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    pair(make_run)
    before = compare()
    shutil.rmtree(tmp_path / "artifacts")
    assert compare()["values"] == before["values"]
    assert {("floor: popularity", p) for p in ("full", "sampled100")} < {
        (v["system"], v["protocol"]) for v in before["values"]
    }


def test_recommended_lists_are_averaged_over_seeds(make_run: MakeRun, compare: Callable[..., dict[str, Any]]) -> None:
    pair(make_run)
    (plain, sage) = compare()["lists"]
    assert (plain["system"], plain["metric"], plain["seeds"]) == ("plain", "coverage@10", 2)
    assert sage["mean"] == pytest.approx(0.7 + 0.015)
    assert sage["sd"] == pytest.approx(0.01 / np.sqrt(2))


def test_head_and_tail_only(make_run: MakeRun, compare: Callable[..., dict[str, Any]]) -> None:
    pair(make_run)
    record = compare(all_groups=False)
    assert {v["family"] for v in record["values"]} == {"head and tail"}
    assert value(record, "sage", "overall") == value(compare(), "sage", "overall")


def test_one_table_of_chosen_groups(make_run: MakeRun, compare: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    pair(make_run)
    every = compare()
    record = compare(groups=["answer_new", "item_tail", "day_own", "overall"])  # positions, so no group by days
    assert {v["family"] for v in record["values"]} == {"chosen groups"}
    assert list(dict.fromkeys(v["group"] for v in record["values"])) == ["overall", "answer_new", "item_tail"]
    assert value(record, "sage", "item_tail")["mean"] == value(every, "sage", "item_tail")["mean"]
    assert (tmp_path / "out" / "comparison.md").read_text().count("| metric | system |") == 2  # full, sampled100
    assert {v["group"] for v in compare(groups="item_tail")["values"]} == {"overall", "item_tail"}


@pytest.mark.parametrize(("head", "count"), [("ts_item", "train_count"), ("reference", "user_count")])
def test_head_by_another_rule_than_the_runs(
    make_run: MakeRun, compare: Callable[..., dict[str, Any]], head: str, count: str
) -> None:
    (first, _) = pair(make_run)
    make_run("plain", 3, 0.2, item_rule="ts_item")
    record = compare(head=head)
    frame = pl.read_parquet(first / "ranks.parquet")
    assert value(record, "plain")["seeds"] == 3  # that the runs' own rules differ does not matter
    assert value(record, "sage", "item_head")["cases"] == (frame[count] >= 60).sum() != frame["item_head"].sum()
    assert remarks(compare(), "tea-plain-sasrec-3 (evaluation.groups.item_rule is ts_item instead of top20)")


@pytest.mark.parametrize("table", ["llmemb", "llm_esr"])
def test_a_papers_table(make_run: MakeRun, compare: Callable[..., dict[str, Any]], table: str) -> None:
    pair(make_run, sizes=(15720, 11383))
    pair(make_run, name="coffee")
    record = compare(table)
    (found,) = record["tables"]
    rows = {(*row["labels"], row["origin"]): row for row in found["rows"]}
    names = ("SASRec", "None") if table == "llmemb" else ("Yelp", "SASRec", "None")
    ours, printed = rows[*names, "ours"]["values"], rows[*names, "printed"]["values"]
    own = [
        value(record, "plain/sasrec", group, protocol="sampled100", metric=metric)["mean"]
        for group, metric in (("overall", "hr@10"), ("overall", "ndcg@10"), ("item_tail", "hr@10"))
    ]
    start = 4 if table == "llmemb" else 0  # beside coffee, which comes first
    assert ours[start : start + 3] == own
    assert printed[start : start + 3] == [0.594, 0.3597, 0.1142]
    assert all(v is None for v in printed[:start])
    with pytest.raises(RunError, match="names its rows by method and backbone, got by=method"):
        compare(table, by=["method"])
