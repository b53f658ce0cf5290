"""Every method with every backbone, as commands: fit, validate, test, go on, and evaluate the checkpoint alone."""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from omegaconf import OmegaConf

from sage_pl import serving
from tests.campaign.bench import ENDS
from tests.semantic.scft.tiny import write_llama

SAVE = serving.save
ROOT = Path(__file__).parent.parent.parent
_FILES = sorted((ROOT / "conf" / "method").glob("*.yaml"))
FLOORS = [path.stem for path in _FILES if "/objective: none" in path.read_text()]  # rankers without training
_LLM = [
    path.stem for path in _FILES if "/decoder: llm" in path.read_text()
]  # test_language_model.py: reads a model's folder
METHODS = [path.stem for path in _FILES if path.stem not in (*FLOORS, *_LLM)]
SMALL = {
    "semantic_convergence": ["steps.tokens.quantiser.codes=6"],
    "tiger": ["steps.tokens.quantiser.codes=6"],
    "whitened_text": ["steps.whiten.dim=6"],
}  # what a method needs on 40 items
Run = Callable[..., Path]


def scores(folder: Path) -> dict[str, float]:
    return json.loads((folder / "metrics.json").read_text())


QUICK = ("plain", "sage", "semantic_convergence")  # beside sasrec in the quick suite
CELLS = [
    pytest.param(method, backbone, marks=[] if backbone == "sasrec" and method in QUICK else [pytest.mark.slow])
    for method in METHODS
    for backbone in ("sasrec", "bert4rec", "gru4rec", "bsarec", "caser")
    if method not in ("tiger", "stosa")
    or backbone == "sasrec"  # what they read sequences with takes the backbone's place
    if method != "id_and_text"  # trains in its stages alone: test_stronger_base.py
]


@pytest.mark.parametrize(("method", "backbone"), CELLS)
def test_a_method_fits_goes_on_and_is_evaluated_alone(
    method: str, backbone: str, run_train: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [f"method={method}", f"backbone={backbone}", *SMALL.get(method, []), "embedder=tfidf"]
    fits_goes_on_and_is_evaluated_alone(command, run_train, tmp_path, monkeypatch)


def fits_goes_on_and_is_evaluated_alone(
    command: list[str], run_train: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run_train(*command, "trainer.max_epochs=1")
    last = first / "checkpoints" / "last.ckpt"
    done = run_train(*command, "trainer.max_epochs=2", f"resume={last}")
    logged = pl.read_csv(done / "metrics.csv")
    assert set(logged["epoch"].drop_nulls()) == {
        0,
        1,
        2,
    }  # the first part's epoch stays; 2: the test after the last epoch
    assert np.isfinite(logged["train/loss"].drop_nulls().to_numpy()).all()
    again = tmp_path / "again"
    best = done / "checkpoints" / "best.ckpt"
    monkeypatch.setattr(sys, "argv", ["evaluate.py", f"checkpoint={best}", f"hydra.run.dir='{again}'"])
    runpy.run_path(str(ROOT / "scripts" / "evaluate.py"), run_name="__main__")
    assert scores(again) == {name: value for name, value in scores(done).items() if name not in ENDS}
    served_as_trained(best, tmp_path / "served", monkeypatch)


def test_tslrec_reads_the_vectors_of_a_plain_run(
    run_bare: Run, small_settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole chain with a tiny decoder: plain run, its vectors as identities, states as the start of a table."""
    given = [one for one in small_settings if not one.startswith(("embedder=", "steps.embed."))]
    tiny = [f"steps.embed.model={write_llama(tmp_path / 'llama')}", "steps.embed.steps=3", "steps.embed.lora.r=2"]
    done = run_bare(*given, "method=tslrec", *tiny, "steps.embed.categories=4", "trainer.max_epochs=1")
    table = np.load(artifact(done, "embed") / "table.npy")
    assert table.shape == (len(np.load(artifact(done, "plain") / "item_table.npy")), 16)
    assert np.isfinite(table).all()
    assert table.any(1).sum() > 30
    served_as_trained(done / "checkpoints" / "best.ckpt", tmp_path / "served", monkeypatch)


def served_as_trained(best: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exported folder, which holds neither text nor adapter, ranks as the model it was made from."""
    command = ["export.py", f"checkpoint={best}", f"folder={folder}", f"hydra.run.dir='{folder}-log'"]
    monkeypatch.setattr(sys, "argv", command)
    models = []
    monkeypatch.setattr(
        serving, "save", lambda model, *rest, **more: (models.append(model), SAVE(model, *rest, **more))
    )
    runpy.run_path(str(ROOT / "scripts" / "export.py"), run_name="__main__")
    assert not models[0].training
    served, items = serving.load(folder).model, torch.tensor([[0, 0, 3, 9], [1, 2, 40, 7]])
    for users in (None, torch.tensor([1, 2])):
        torch.testing.assert_close(served.states(items, users), models[0].states(items, users), rtol=0, atol=1e-6)
    torch.testing.assert_close(served.output_table(), models[0].output_table(), rtol=0, atol=1e-6)
    assert served.recommend(items, 5).ids.tolist() == models[0].recommend(items, 5).ids.tolist()
    assert not any(name.startswith("item_encoder") for name in served.state_dict())
    with pytest.raises(SystemExit):  # what is there already stays
        runpy.run_path(str(ROOT / "scripts" / "export.py"), run_name="__main__")


def weights(run: Path) -> dict[str, torch.Tensor]:
    (checkpoint,) = [path for path in (run / "best.ckpt", run / "checkpoints" / "last.ckpt") if path.is_file()]
    return torch.load(checkpoint, weights_only=True)["state_dict"]


def artifact(run: Path, name: str) -> Path:
    return Path(OmegaConf.load(run / "config.yaml").artifacts[name])


@pytest.mark.slow
def test_the_phases_of_pad_hand_on_what_they_learned(run_train: Run) -> None:
    """Each phase starts from the one before, which stays as it was; a second command makes none of them again."""
    pad = ["method=pad", "trainer.max_epochs=1", "+stages.plain.optimizer.lr=0.01", "optimizer.lr=0.0", "seed=3"]
    still, folder = (run_train(*pad, f"+stages.align.optimizer.lr={lr}") for lr in (0.0, 0.01))
    plain, align = (artifact(folder, name) for name in ("plain", "align"))
    assert artifact(still, "plain") == plain
    before, copy, between, after = weights(plain), weights(artifact(still, "align")), weights(align), weights(folder)
    handed_on = [name for name in before if name.startswith(("item_encoder.table.", "sequence_encoder."))]
    assert len(handed_on) == len(before), "all that a plain run learns"
    for name in handed_on:
        assert torch.equal(copy[name], before[name]), name
    assert not torch.equal(before["item_encoder.table.weight"], between["item_encoder.table.weight"])
    for expert, source in (("id", before), ("aligned", between)):
        for part in ("item_encoder.", "sequence_encoder.backbone."):
            names = [name for name in source if name.startswith(part)]
            assert names, "with a learning rate of zero nothing moves, so that what was copied is what is there"
            for name in names:
                copied = after[f"{part.split('.')[0]}.experts.{expert}.{name.removeprefix(part)}"]
                assert torch.equal(copied, source[name]), (expert, name)
    made = {path: path.stat().st_mtime_ns for path in (plain / "best.ckpt", align / "best.ckpt")}
    run_train(*pad, "+stages.align.optimizer.lr=0.01", "item_encoder.gate.zero_bucket=true")
    assert made == {path: path.stat().st_mtime_ns for path in made}
