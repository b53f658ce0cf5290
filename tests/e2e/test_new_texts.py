"""New items by each kind of text encoder: one tuned on the data set, one that trains vectors, and those that encode no text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sage_pl import serving
from sage_pl.errors import SettingError
from sage_pl.semantic.language_models.loading import ModelError
from tests.conftest import KINDS, _runner
from tests.e2e.test_served_alike import Answers, command
from tests.semantic.scft.tiny import WORDS, write_bert, write_llama

__all__ = ["command"]
Run = Callable[..., Path]


@pytest.fixture
def run(small_settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    settings = [entry for entry in small_settings if "embed" not in entry and "paths.outputs" not in entry]
    settings += [f"paths.outputs={tmp_path / 'outputs'}", "trainer.max_epochs=1"]
    return _runner("train", settings, tmp_path, monkeypatch)


def both_answer_alike(best: Path, exported: Path, titles: list[str], command: Callable[..., Answers]) -> None:
    """The command with ``items=FILE`` and ``add_items`` of the folder: two new items, the same scores."""
    table = {"item_id": ["900", "901"], "title": titles}
    file = exported.with_suffix(".csv")
    pl.DataFrame(table).write_csv(file)
    command("export", f"checkpoint={best}", f"folder={exported}")
    model = serving.load(exported)
    model.add_items(table)
    scored = {item.id: item.score for item in model.recommend(["0", "4"], 42, seen="keep")}
    assert len(scored) == 42
    options = ("history=[0,4]", "k=42", "seen=keep")
    ((_, _, ids, scores, _),) = command("recommend", f"checkpoint={best}", f"items={file}", *options)
    np.testing.assert_allclose([scored[one] for one in ids], scores, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["llmemb", "text_only"])
def test_a_tuned_encoder_encodes_new_texts_by_its_adapter(
    method: str, run: Run, command: Callable[..., Answers], tmp_path: Path
) -> None:
    words = {word for text in KINDS.values() for word in text.split()} | {*KINDS, "number", *map(str, range(40))}
    tuning = [f"steps.scft.model={write_bert(tmp_path / 'bert', sorted(words))}", "steps.scft.trainer.max_epochs=1"]
    best = (
        run(f"method={method}", "embedder=scft", *tuning, "steps.scft.training.batch_size=8") / "checkpoints/best.ckpt"
    )
    both_answer_alike(best, tmp_path / "exported", ["green leaf tea number 7", "led desk lamp number 8"], command)
    elsewhere = tmp_path / "outputs" / "artifacts" / "scft"
    elsewhere.rename(tmp_path / "moved")
    serving.load(tmp_path / "exported").add_items({"item_id": ["x"], "title": ["green tea"]})  # its own adapter
    with pytest.raises((ModelError, SystemExit)):
        command("recommend", f"checkpoint={best}", f"items={tmp_path / 'exported.csv'}", "history=[0]")


@pytest.mark.slow
def test_vectors_trained_to_regenerate_a_text_are_trained_for_new_ones(
    run: Run, command: Callable[..., Answers], tmp_path: Path
) -> None:
    model = f"steps.embed.model={write_llama(tmp_path / 'llama')}"
    best = run("method=text_only", "embedder=said", model, "steps.embed.steps=3") / "checkpoints" / "best.ckpt"
    both_answer_alike(best, tmp_path / "exported", [" ".join(WORDS[:3]), WORDS[7]], command)


@pytest.mark.parametrize("embedder", ["precomputed", "cooccurrence"])
def test_vectors_of_no_text_take_no_new_items(
    embedder: str, run: Run, command: Callable[..., Answers], tmp_path: Path
) -> None:
    vectors = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)
    np.save(tmp_path / "vectors.npy", vectors)
    settings = {
        "precomputed": [f"steps.embed.path={tmp_path / 'vectors.npy'}"],
        "cooccurrence": ["steps.embed.dim=6"],
    }
    best = run("method=text_only", f"embedder={embedder}", *settings[embedder]) / "checkpoints" / "best.ckpt"
    command("export", f"checkpoint={best}", f"folder={tmp_path / 'exported'}")
    assert "New items need a training run" in (tmp_path / "exported" / "README.md").read_text()
    with pytest.raises(SettingError) as refused:
        serving.load(tmp_path / "exported").add_items({"item_id": ["x"], "title": ["tea"]})
    message = str(refused.value)
    assert message.startswith(f"new items cannot be added: embedder={embedder} ")
    assert message.endswith("train again with them, or with an embedder of texts, such as embedder=minilm")
    assert "\n" not in message
