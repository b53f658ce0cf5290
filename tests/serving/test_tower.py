"""The user tower of every method and backbone: ONNX Runtime and torch.export answer as the model does."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from sage_pl.artifacts.store import Artifact
from sage_pl.errors import SettingError
from sage_pl.runs import fit
from sage_pl.runs.plan import fill_in_artifacts
from sage_pl.runs.preparation import prepare
from sage_pl.serving.exported import catalogue_of, in_memory, knows_users
from sage_pl.serving.exported_model import Catalogue
from sage_pl.serving.tower import FILES, VECTORS, UserTower, _write_onnx, exported_program, write_tower
from tests.e2e.test_methods import METHODS, SMALL
from tests.planned import planned

GENERATORS = ("semantic_convergence", "tiger")
SAMPLES = ((1, 1), (3, 5), (5, 13))  # histories, and their length; 8 items are read
BACKBONES = ("sasrec", "bert4rec", "gru4rec", "bsarec", "caser", "none")
REPLACING = ("stosa",)  # what it reads sequences with takes the backbone's place
TOWERS = [method for method in METHODS if method not in GENERATORS]
EVERY = pytest.mark.skipif(
    "SAGE_TOWERS" not in os.environ,
    reason="takes two minutes of processor time for each backbone; SAGE_TOWERS=1 runs it",
)


@pytest.fixture
def served(small_settings: list[str]):
    """``served(method, backbone)``: an untrained model and its catalogue.

    Stages train SASRec alone; another backbone starts from none of them, which saves the time of training each with each.
    """

    def build(method: str, backbone: str = "sasrec", *more: str) -> tuple[torch.nn.Module, Catalogue]:
        settings = [*small_settings, f"method={method}", *SMALL.get(method, []), *more]
        plan = planned(*settings, "backbone=sasrec")
        artifacts = prepare(plan)
        if backbone != "sasrec":
            plan = planned(*settings, f"backbone={backbone}", *(f"start.{name}=null" for name in plan.config.start))
        config = fill_in_artifacts(plan.config, artifacts)
        model = fit.build_parts(config, {}).model.eval()
        return in_memory(model), catalogue_of(Artifact.at(config.artifacts.sequences), "mask", knows_users(config))

    return build


def agree(model: torch.nn.Module, catalogue: Catalogue, folder: Path, form: str) -> None:
    write_tower(model, catalogue, folder, form)
    n = len(catalogue.ids) - 1
    for size, length in SAMPLES:
        items = histories(size, length, n)
        users = (torch.arange(size),) if UserTower(model).knows_users else ()
        states = answered(folder, form, items, *users)
        wanted = model.states(items, *users).numpy()
        assert states.shape == wanted.shape
        assert np.abs(states - wanted).max() <= 1e-5 * max(1, np.abs(wanted).max())
    np.testing.assert_array_equal(np.load(folder / VECTORS), model.ranking_table().numpy())


def histories(size: int, length: int, n_items: int) -> torch.Tensor:
    items = torch.randint(1, n_items + 1, (size, length), generator=torch.Generator().manual_seed(size))
    items[0, : length // 2] = 0
    return items


class Towers(torch.nn.Module):
    """Several towers of one catalogue; the arguments are those of one that knows its users."""

    knows_users = True

    def __init__(self, models: list[torch.nn.Module]) -> None:
        super().__init__()
        self.towers = torch.nn.ModuleList(map(UserTower, models))

    def forward(self, items: torch.Tensor, users: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(tower(items, users) if tower.knows_users else tower(items) for tower in self.towers)

    def example(self) -> tuple[torch.Tensor, ...]:
        return torch.tensor([[1, 2, 3], [4, 5, 6]]), torch.zeros(2, dtype=torch.long)


def answered(folder: Path, form: str, *arguments: torch.Tensor) -> np.ndarray:
    if form == "torch":
        return torch.export.load(folder / FILES[form]).module()(*arguments).detach().numpy()
    session = pytest.importorskip("onnxruntime").InferenceSession(folder / FILES[form])
    names = [one.name for one in session.get_inputs()]
    assert names == ["items", "users"][: len(names)]
    return session.run(None, {name: one.numpy() for name, one in zip(names, arguments, strict=False)})[0]


@pytest.mark.parametrize("form", ["torch", pytest.param("onnx", marks=pytest.mark.slow)])
def test_a_tower_answers_as_its_model(served, form: str, tmp_path: Path) -> None:
    agree(*served("plain"), tmp_path / "tower", form)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["plain", "sage"])
@pytest.mark.parametrize("backbone", BACKBONES[1:])
def test_a_tower_of_every_backbone_answers_as_its_model(served, method: str, backbone: str, tmp_path: Path) -> None:
    agree(*served(method, backbone), tmp_path / "tower", "onnx")


@pytest.mark.slow
@pytest.mark.parametrize("backbone", [one if one == "sasrec" else pytest.param(one, marks=EVERY) for one in BACKBONES])
def test_every_tower_answers_as_its_model(served, backbone: str, tmp_path: Path) -> None:
    """The towers of all methods in one graph, as most of the time of writing one is the exporter's own."""
    methods = [method for method in TOWERS if backbone == "sasrec" or method not in REPLACING]
    models = [served(method, backbone)[0] for method in methods]
    towers = Towers(models)
    _write_onnx(exported_program(towers), towers, tmp_path / "towers.onnx")
    session = pytest.importorskip("onnxruntime").InferenceSession(tmp_path / "towers.onnx")
    largest = dict.fromkeys(methods, 0.0)
    for size, length in SAMPLES:
        items, users = histories(size, length, 40), torch.arange(size)
        answers = session.run(None, {"items": items.numpy(), "users": users.numpy()})
        for method, model, states in zip(methods, models, answers, strict=True):
            expected = model.states(items, users).numpy()
            assert states.shape == expected.shape
            largest[method] = max(largest[method], np.abs(states - expected).max() / max(1, np.abs(expected).max()))
    print(backbone, {method: f"{value:.0e}" for method, value in largest.items()})
    assert max(largest.values()) <= 1e-5


@pytest.mark.slow
def test_generated_codes_have_no_tower(served) -> None:
    model, _ = served("tiger")
    with pytest.raises(SettingError, match="searches with beams, whose steps depend on what they meet"):
        UserTower(model)


@pytest.mark.slow
@pytest.mark.parametrize("form", list(FILES))
def test_the_readme_of_a_tower_runs(
    served, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model, catalogue = served("plain", "sasrec", "scorer=fusion")
    write_tower(model, catalogue, tmp_path / "tower", form)
    text = (tmp_path / "tower" / "README.md").read_text()
    assert "the tower gives the model's own scores; Fusion" in caplog.text
    assert "Note: the tower gives" in text
    (program,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(tmp_path / "tower")
    exec(compile(program, "README.md", "exec"), {})  # noqa: S102 - the program this project writes


def test_masks_kept_by_length_stay_tensors(served) -> None:
    """An export runs the model on stand-ins; none of them may be kept for later calls."""
    model, _ = served("plain")
    exported_program(UserTower(model))
    assert type(model.states(torch.ones(2, 8, dtype=torch.long))) is torch.Tensor
