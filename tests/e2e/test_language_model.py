"""``method=semantic_convergence_llm`` as commands with a tiny random model: fit, go on, evaluate, serve, keep lists."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from sage_pl import serving
from sage_pl.hosts import HostError
from tests.e2e.test_methods import fits_goes_on_and_is_evaluated_alone, scores
from tests.e2e.test_served_alike import USERS, Answers, command, equal
from tests.semantic.scft.tiny import write_llama

__all__ = ["command"]


@pytest.fixture
def settings(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = write_llama(tmp_path_factory.mktemp("llama"))
    small = ["dim=16", "stages.plain.dim=8", "stages.plain.data.max_len=8", "stages.plain.data.batch_size=16"]
    small += ["steps.tokens.quantiser.codes=6", "loss.newest=2", "loss.max_words=6", "loss.rows=4", "decoder.rank=2"]
    return ["method=semantic_convergence_llm", f"decoder.model={folder}", "decoder.offline=true", *small]


@pytest.mark.slow
def test_it_fits_goes_on_and_is_evaluated_alone(
    settings: list[str], run_train: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fits_goes_on_and_is_evaluated_alone(settings, run_train, tmp_path, monkeypatch)


@pytest.mark.slow
def test_lists_kept_live_and_of_the_exported_folder_are_one_answer(
    settings: list[str], run_train: Callable[..., Path], command: Callable[..., Answers], tmp_path: Path
) -> None:
    folder = run_train(*settings, "trainer.max_epochs=1", "decoder.exhaustive_up_to=100")
    assert "test/generation/beam_recall@20" in scores(folder)
    best = folder / "checkpoints" / "best.ckpt"
    checkpoint, exported = f"checkpoint={best}", tmp_path / "exported"
    command("recommend", checkpoint, "users=all", "k=6")
    kept = command("recommend", checkpoint, f"users=[{','.join(USERS)}]", "k=6")
    command("export", checkpoint, f"folder={exported}")
    model = serving.load(exported)
    for user, (history, _, ids, values, source) in zip(USERS, kept, strict=True):
        assert source == "cache"
        equal(model.recommend(history, 6, user=user), ids, values)
        ((_, _, ids, values, source),) = command("recommend", checkpoint, f"history=[{','.join(history)}]", "k=6")
        assert source == "live"
        equal(model.recommend(history, 6), ids, values)
        assert np.isfinite(values).all()
    weights = torch.load(exported / "weights.pt", weights_only=True)
    names = {name for name in weights if name.startswith("decoder.network.")}
    assert all("lora_" in name or name == "decoder.network.base" for name in names), "no frozen weight is copied"
    contacts_no_hub(exported)


def contacts_no_hub(exported: Path) -> None:
    """A folder may come from others: a language model on the hub is not fetched unless the caller allows it."""
    (exported / "manifest.json").unlink()
    content = json.loads((exported / "model.json").read_text())
    content["manifest"], content["decoder"]["offline"] = False, False
    content["decoder"]["model"] = "nobody/nothing"
    (exported / "model.json").write_text(json.dumps(content))
    with pytest.raises(HostError, match=r"asks for huggingface\.co"):
        serving.load(exported)
