"""A model in Python: from frames to answers, mixed with the commands; what is wrong is one sentence."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
from hydra.core.global_hydra import GlobalHydra
from polars.testing import assert_frame_equal

import sage_pl
from sage_pl.api.frames import Columns, events_of, write_dataset
from sage_pl.api.model import Model
from sage_pl.api.running import Done, arguments_of, composing
from sage_pl.data.sources.folder import Folder
from sage_pl.data.sources.raw import DataError
from sage_pl.errors import MissingFileError, SettingError
from sage_pl.nn.modules.sequential import SequentialRecommender
from sage_pl.runs.checks import ConfigError

Fit = Callable[..., sage_pl.Model]


def test_the_package_is_imported_without_what_it_uses() -> None:
    program = "import sage_pl, sys; assert not {'torch', 'polars', 'hydra'} & set(sys.modules); sage_pl.no_name"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "module sage_pl has no attribute no_name" in done.stderr
    assert {"fit", "load", "compare", "Model"} <= set(dir(sage_pl))


def test_equal_frames_are_one_data_set(events: pl.DataFrame, texts: pl.DataFrame, tmp_path: Path) -> None:
    folder = write_dataset(events, texts, Columns(), tmp_path)
    assert write_dataset(events.to_dict(as_series=False), texts, Columns(), tmp_path) == folder
    assert write_dataset(events[1:], texts, Columns(), tmp_path) != folder
    assert Folder(folder).load().interactions.collect().height == len(events)


def test_columns_are_named_and_order_stands_for_times(events: pl.DataFrame, tmp_path: Path) -> None:
    renamed = events.rename({"user_id": "who", "item_id": "sku"}).drop("timestamp")
    data = Folder(write_dataset(renamed, None, Columns("who", "sku", None), tmp_path)).load().interactions.collect()
    assert data["timestamp"].to_list()[:3] == [0, 1, 2]
    known = dict.fromkeys(events["item_id"], 1)
    assert events_of(renamed, Columns("who", "sku", None), known) == events_of(
        events, Columns("who", "sku", "t"), known
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"item_id": None}, "has no column item_id; it has user_id, timestamp; name the columns"),
        ({"timestamp": ["2020-01-01"]}, "is String, wanted whole numbers or dates; parse it first"),
    ],
)
def test_a_frame_that_cannot_be_used(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    columns = {"user_id": ["a"], "item_id": ["b"], "timestamp": [1], **change}
    frame = {name: values for name, values in columns.items() if values}
    with pytest.raises(DataError, match=message):
        write_dataset(frame, None, Columns(), tmp_path)
    with pytest.raises(DataError, match="wanted a frame of polars, pandas or Arrow"):
        write_dataset(3, None, Columns(), tmp_path)


@pytest.mark.parametrize(
    ("columns", "more", "message"),
    [
        (Columns("who"), {"who": ["a"]}, "has a column user_id beside who, which stands for it; drop one"),
        (Columns(time="day"), {"day": [1]}, "has a column timestamp beside day"),
        (Columns(item="user_id"), {}, "name the column user_id twice; name three columns"),
        (Columns(), {"user_id": [["a"]]}, "wanted ids that are whole numbers or text"),
    ],
)
def test_columns_that_stand_for_each_other(
    columns: Columns, more: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message):
        write_dataset({"user_id": ["a"], "item_id": ["b"], "timestamp": [1], **more}, None, columns, tmp_path)


def test_items_have_ids_of_the_kind_that_events_have(tmp_path: Path) -> None:
    """Whole numbers stay whole where pandas made floats of them, in events, items and histories."""
    events = {"user_id": ["a", "b"], "item_id": [1.0, 2.0], "timestamp": [1, 2]}
    folder = write_dataset(events, {"item_id": [1, 2], "title": [10, 20]}, Columns(), tmp_path)
    data = Folder(folder).load()
    assert data.interactions.collect()["item_id"].to_list() == [1, 2]
    assert events_of(events, Columns(), {"1": 1, "2": 2}).histories == [["1"], ["2"]]
    with pytest.raises(DataError, match=r"wanted item_ids as in interactions, which are Int64, and titles as text"):
        write_dataset(events, {"item_id": ["A"], "title": ["x"]}, Columns(), tmp_path)


def test_a_data_set_has_its_own_items() -> None:
    with pytest.raises(SettingError, match="got the data set 'journey', which has its own; leave them out"):
        sage_pl.fit("journey", {"item_id": [1], "title": ["x"]})


def test_a_setting_is_a_plain_value() -> None:
    numpy = pytest.importorskip("numpy")
    assert arguments_of({"seed": numpy.int64(3), "ks": numpy.array([1, 2])}) == ["seed=3", "ks=[1,2]"]
    with pytest.raises(ConfigError, match="a set; wanted a number, a text"):
        arguments_of({"seed": {1, 2}})


def test_a_program_of_hydra_goes_on_after_a_call() -> None:
    """It may call sage_pl.fit; its own state is put back, also after an error."""
    outer = GlobalHydra.instance().hydra
    GlobalHydra.instance().hydra = around = object()  # type: ignore[assignment]
    try:
        with suppress(KeyError), composing([], "train"):
            assert not GlobalHydra.instance().is_initialized()
            raise KeyError
        assert GlobalHydra.instance().hydra is around
    finally:
        GlobalHydra.instance().hydra = outer


def test_a_model_is_evaluated_as_it_was_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(
        "sage_pl.api.model.run_command", lambda name, settings: calls.append(settings) or Done({}, Path())
    )
    source: Any = SimpleNamespace(
        overrides={"evaluation": {"seen": "mask"}, "scorer": {"text": "${a.b}"}}, checkpoint=lambda purpose: Path("c")
    )
    served: Any = None
    Model(served, source).evaluate(overrides={"evaluation": {"sampled": 10}})
    changes = {"evaluation": {"seen": "mask", "sampled": 10}, "scorer": {"text": "${a.b}"}}
    assert calls == [{"checkpoint": Path("c"), "overrides": changes}]


def test_histories_of_a_frame_are_in_order_and_known() -> None:
    frame = {"user_id": ["a", "b", "a", "c"], "item_id": ["x", "x", "y", "?"], "timestamp": [2, 1, 1, 0]}
    users, histories = events_of(frame, Columns(), {"x": 1, "y": 2})
    assert dict(zip(users, histories, strict=True)) == {"a": ["y", "x"], "b": ["x"], "c": []}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"timestamp": ["9", "10"]}, "timestamp of the frame of histories is String, .* wanted numbers or dates"),
        ({"timestamp": [1.0, float("nan")]}, "timestamp of the frame of histories is empty in 1 of 2 rows"),
        ({"user_id": ["a", None]}, "user_id of the frame of histories is null in 1 of 2 rows"),
    ],
)
def test_a_history_without_an_order_or_a_user_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        events_of({"user_id": ["a", "a"], "item_id": ["x", "y"], "timestamp": [1, 2], **change}, Columns(), {"x": 1})


def test_nothing_to_load(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"no checkpoint, no finished run .* and no exported folder"):
        sage_pl.load(tmp_path)
    with pytest.raises(MissingFileError, match="path is None, wanted the path"):
        sage_pl.load(None)  # type: ignore[arg-type]


def test_lightnings_reflex_names_the_call() -> None:
    with pytest.raises(SettingError, match=r"call sage_pl.load\('best.ckpt'\), whose .module"):
        SequentialRecommender.load_from_checkpoint("best.ckpt")


def test_a_setting_that_is_no_key_is_refused_before_anything_is_written(
    events: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"there is no key loss.gama; did you mean loss.gamma"):
        sage_pl.fit(events, method="plain", overrides={"loss.gama": 1})
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_run_of_python_is_one_of_the_commands(
    model: sage_pl.Model, fit: Fit, texts: pl.DataFrame, run_bare: Any
) -> None:
    """The command with the same settings makes the same numbers, of the same artifacts."""
    overrides = (model.path / ".hydra" / "overrides.yaml").read_text()
    settings = [line.removeprefix("- ") for line in overrides.splitlines()]
    again = run_bare(*settings)
    assert (again / "metrics.json").read_text() == (model.path / "metrics.json").read_text()
    assert sage_pl.load(again).recommend(users="all").equals(model.recommend(users="all"))
    assert (model.path / "train.log").read_text().count("epoch")


@pytest.mark.slow
def test_frames_users_and_histories_agree(model: sage_pl.Model, events: pl.DataFrame) -> None:
    pandas = pytest.importorskip("pandas")
    users = ["u3", "u5"]
    known = model.recommend(users=users, k=4)
    frame = events.filter(pl.col("user_id").is_in(users))
    assert model.recommend(frame, k=4).sort("user_id", "rank").equals(known)
    assert model.recommend(pandas.DataFrame(frame.to_dict(as_series=False)), k=4).sort("user_id", "rank").equals(known)
    history = frame.filter(user_id="u3").sort("timestamp")["item_id"].to_list()
    alone, of_two = model.recommend(history, k=4), known.filter(user_id="u3").drop("user_id")
    assert_frame_equal(alone, of_two, rel_tol=1e-6)  # a batch of another size may round the last bit
    answers = model.recommend(users=users, candidates=["tea-1", "tea-2"])["item_id"]
    assert set(answers) == {"tea-1", "tea-2"}
    assert "tea-1" not in model.recommend(users=users, k=40, exclude=["tea-1"])["item_id"]
    series = pl.Series(users)
    assert model.recommend(users=series, k=4).equals(known)
    assert model.recommend(users=series.to_numpy(), k=4).equals(known)
    assert model.recommend(pl.Series(history), k=4).equals(model.recommend(history, k=4))
    assert model.recommend(history, exclude=pl.Series(["tea-1"]), k=10**12).height <= len(model.items)


@pytest.mark.slow
def test_what_is_wrong_in_a_call_is_one_sentence(model: sage_pl.Model, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="one of them"):
        model.recommend()
    with pytest.raises(SettingError, match="have no user 'nobody'"):
        model.recommend(users=["nobody"])
    for call in (model.similar_users, lambda users: model.recommend(users=users)):
        with pytest.raises(SettingError, match=r"write \['u1'\]"):
            call("u1")
    for frame, message in (
        ({"item_id": [], "title": []}, "has no row"),
        (3, "wanted a frame"),
        ({"item_id": ["x"]}, "lack"),
    ):
        with pytest.raises(SettingError, match=message):
            model.add_items(frame)
    with pytest.raises(SettingError, match="there are no runs to compare"):
        sage_pl.compare([])
    for save in (lambda: model.save(None), lambda: model.push_to_hub(None)):  # type: ignore[arg-type]
        with pytest.raises(SettingError, match="is None, wanted"):
            save()
    with pytest.raises(SettingError, match="format is 'zip', wanted folder, hub, onnx or torch"):
        model.save(tmp_path / "shop", format="zip")
    with pytest.raises(SettingError, match="the nearest ids are tea-1"):
        model.similar(["tea-1x"])
    exported = sage_pl.load(model.save(tmp_path / "shop"))
    for call in (exported.evaluate, exported.report, lambda: exported.module, lambda: exported.recommend(users=["u1"])):
        with pytest.raises(SettingError, match="load the run"):
            call()
    with pytest.raises(SettingError, match="exists already"):
        model.save(tmp_path / "shop")
