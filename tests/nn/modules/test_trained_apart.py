"""Two models trained apart: the scores of their sum by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sage_pl.errors import SettingError
from sage_pl.nn.item_encoders.gated import GatedExperts
from sage_pl.nn.item_encoders.gates import UniformGate
from sage_pl.nn.item_encoders.id import IdEncoder
from sage_pl.nn.item_encoders.text import TextEncoder
from sage_pl.nn.item_encoders.unit import UnitItems
from sage_pl.nn.modules.sequential import SequentialRecommender
from sage_pl.nn.modules.trained_apart import TrainedApart
from sage_pl.nn.sequence_encoders.cosine import CosineStates
from sage_pl.nn.sequence_encoders.single import SingleView
from sage_pl.nn.sequence_encoders.summed import SummedExperts
from sage_pl.types import ItemEncoder
from tests.golden.prepared import N_ITEMS, Artifacts, left_pad, make_backbone, make_targets, normal

HISTORIES = left_pad([[1, 2, 3], [4], [5, 6, 7, 8]])
DIM = 8


def encoders(artifacts: Artifacts) -> dict[str, ItemEncoder]:
    return {"id": IdEncoder(N_ITEMS, DIM), "text": TextEncoder(N_ITEMS, artifacts.text, DIM)}


def finished(name: str, artifacts: Artifacts, folder: Path, backbone: str) -> SequentialRecommender:
    """A model, as its run leaves it in a folder."""
    torch.manual_seed(len(name))
    model = SequentialRecommender(
        encoders(artifacts)[name], SingleView(make_backbone(backbone, DIM), name), make_targets(backbone)
    ).float()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    folder.mkdir()
    torch.save({"state_dict": model.state_dict()}, folder / "best.ckpt")
    np.save(folder / "item_table.npy", model.output_table()[:].numpy())
    return model.eval()


def summed(artifacts: Artifacts, runs: dict[str, str], backbone: str = "sasrec") -> SequentialRecommender:
    items = GatedExperts(encoders(artifacts), UniformGate)
    states = SummedExperts({name: make_backbone(backbone, DIM) for name in ("id", "text")})
    model = SequentialRecommender(items, states, make_targets(backbone), start={"apart": TrainedApart(runs)})
    return model.float().eval()


@pytest.mark.parametrize("backbone", ["sasrec", "bert4rec", "gru4rec"])
def test_scores_are_the_sum_of_the_standardised_ones(backbone: str, artifacts: Artifacts, tmp_path: Path) -> None:
    runs = {name: str(tmp_path / f"run_{name}") for name in ("id", "text")}
    apart = [finished(name, artifacts, Path(run), backbone) for name, run in runs.items()]
    model = summed(artifacts, runs, backbone)
    expected = 0
    for one in apart:
        scores = (one.states(HISTORIES).double() @ one.output_table()[1:-1].double().T).numpy()
        expected = expected + (scores - scores.mean(1, keepdims=True)) / scores.std(1, keepdims=True)
    scores = 2 * (model.states(HISTORIES) @ model.output_table()[1:-1].T).numpy()  # the gate's shares are halves
    scores -= scores.mean(1, keepdims=True)
    np.testing.assert_allclose(scores, expected, atol=1e-4)
    assert not any(weight.requires_grad for weight in model.parameters())
    again = SequentialRecommender(
        model.item_encoder, SummedExperts(dict(model.sequence_encoder.experts)), model.targets
    )  # type: ignore[arg-type]
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.eval().states(HISTORIES), model.states(HISTORIES)), "a checkpoint has the covariances"


def test_padding_changes_nothing_and_its_states_are_zero(artifacts: Artifacts, tmp_path: Path) -> None:
    runs = {name: str(tmp_path / f"run_{name}") for name in ("id", "text")}
    for name, run in runs.items():
        finished(name, artifacts, Path(run), "sasrec")
    encoder = summed(artifacts, runs).sequence_encoder
    views = {name: normal(2, 3, DIM, seed=len(name)).float() for name in ("id", "text")}
    longer = {name: torch.cat([torch.ones(2, 2, DIM), view], 1) for name, view in views.items()}
    mask = torch.ones(2, 5, dtype=torch.bool)
    mask[:, :2] = False
    states = encoder(longer, mask, {"items": mask.long()})
    torch.testing.assert_close(states[:, 2:], encoder(views, mask[:, 2:], {"items": mask[:, 2:].long()}))
    assert not states[:, :2].any()
    torch.testing.assert_close(encoder(longer, mask, {"items": mask.long()}, last_only=True), states[:, -1:])


def test_a_run_of_another_form_is_refused(artifacts: Artifacts, tmp_path: Path) -> None:
    runs = {name: str(tmp_path / f"run_{name}") for name in ("id", "text")}
    for name, run in runs.items():
        finished(name, artifacts, Path(run), "sasrec")
    with pytest.raises(SettingError, match=r"item_encoder\.experts\.id cannot start from item_encoder"):
        summed(artifacts, {"id": runs["text"], "text": runs["id"]})


def test_cosines_of_a_sum_are_refused(artifacts: Artifacts) -> None:
    items = UnitItems(GatedExperts(encoders(artifacts), UniformGate))
    states = CosineStates(SummedExperts({name: make_backbone("sasrec", DIM) for name in ("id", "text")}))
    with pytest.raises(
        SettingError, match=r"wanted SummedExperts, .* use sequence_encoder=summed and model=sequential"
    ):
        SequentialRecommender(items, states, make_targets("sasrec"), start={"apart": TrainedApart({})})
