"""Experts mixed per item, on their own and as a recommender together with one backbone each."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sage_pl.nn.item_encoders.fused import FusedEncoder
from sage_pl.nn.item_encoders.gated import GatedExperts
from sage_pl.nn.item_encoders.gates import FrequencyGate, UniformGate
from sage_pl.nn.item_encoders.id import IdEncoder
from sage_pl.nn.item_encoders.projection import TextProjection
from sage_pl.nn.item_encoders.text import TextEncoder
from sage_pl.nn.losses.mmd import MMD
from sage_pl.nn.modules.sequential import SequentialRecommender
from sage_pl.nn.objectives.softmax import Softmax
from sage_pl.nn.sequence_encoders.experts import Experts
from sage_pl.nn.sequence_encoders.single import SingleView
from sage_pl.types import ItemEncoder
from tests.golden.prepared import (
    BACKBONES,
    N_ITEMS,
    USERS,
    Artifacts,
    adam,
    left_pad,
    make_backbone,
    make_targets,
    normal,
)

DIMS = {"id": 8, "aligned": 6, "text": 4}
ORDER = ("aligned", "id", "text")
STARTS = {"id": [1.0, 0.0], "aligned": [0.2, -0.8], "text": [0.0, 1.0]}
IDS = torch.arange(N_ITEMS + 2)


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    return Artifacts.write(tmp_path)


def experts_of(artifacts: Artifacts) -> dict[str, ItemEncoder]:
    torch.manual_seed(0)
    return {
        "id": IdEncoder(N_ITEMS, DIMS["id"]),
        "aligned": FusedEncoder(N_ITEMS, artifacts.text, DIMS["aligned"]),
        "text": TextEncoder(N_ITEMS, artifacts.text, DIMS["text"], TextProjection),
    }


def gated(artifacts: Artifacts, leave_out: str | None = None, dims: Mapping[str, int] = DIMS) -> GatedExperts:
    chosen = {name: expert for name, expert in experts_of(artifacts).items() if name != leave_out}
    return GatedExperts(chosen, lambda names: FrequencyGate(names, artifacts.sequences, STARTS, n_buckets=3))


def test_views_are_what_each_expert_scores_and_the_shares(artifacts: Artifacts) -> None:
    encoder = gated(artifacts).eval()
    views = encoder.views(IDS)
    assert list(views) == list(encoder.input_dims) == [*ORDER, "gate"]
    assert {name: view.shape[-1] for name, view in views.items()} == encoder.input_dims == {**DIMS, "gate": 3}
    for name, expert in encoder.experts.items():
        assert torch.equal(views[name], expert.output(expert.views(IDS)))  # type: ignore[operator]
    assert torch.equal(views["gate"], encoder.gate(IDS))
    torch.testing.assert_close(views["gate"].sum(-1), torch.ones(len(IDS)))


def test_one_inner_product_equals_three_gated_score_matrices(artifacts: Artifacts) -> None:
    encoder = gated(artifacts).eval()
    views = encoder.views(IDS)
    states = {name: normal(5, dim, seed=dim).float() for name, dim in DIMS.items()}
    together = torch.cat([states[name] for name in ORDER], 1) @ encoder.output(views).T
    apart = [views["gate"][:, column] * (states[name] @ views[name].T) for column, name in enumerate(ORDER)]
    torch.testing.assert_close(together, torch.stack(apart).sum(0), atol=1e-6, rtol=0)
    assert encoder.output_dim == sum(DIMS.values())


def test_the_order_in_which_experts_are_given_does_not_matter(artifacts: Artifacts) -> None:
    experts = experts_of(artifacts)
    outputs = []
    for names in (("id", "aligned", "text"), ("text", "aligned", "id")):
        encoder = GatedExperts({name: experts[name] for name in names}, UniformGate).eval()
        outputs.append(encoder.output(encoder.views(IDS)))
    assert torch.equal(*outputs)


def test_an_expert_can_be_left_out(artifacts: Artifacts) -> None:
    encoder = gated(artifacts, leave_out="aligned").eval()
    views = encoder.views(IDS)
    assert list(views) == ["id", "text", "gate"]
    assert views["gate"].shape[-1] == 2
    assert encoder.output(views).shape == (len(IDS), encoder.output_dim) == (len(IDS), 12)


def test_experts_that_do_not_belong_together_are_refused(artifacts: Artifacts) -> None:
    with pytest.raises(ValueError, match=r"experts are \[\], wanted at least one"):
        GatedExperts({}, UniformGate)
    with pytest.raises(ValueError, match="none called 'gate'"):
        GatedExperts({"gate": IdEncoder(3)}, UniformGate)
    with pytest.raises(ValueError, match=r"different items: \{'a': 3, 'b': 4\}"):
        GatedExperts({"a": IdEncoder(3), "b": IdEncoder(4)}, UniformGate)


def recommender(artifacts: Artifacts, backbone: str) -> SequentialRecommender:
    states = Experts({name: make_backbone(backbone, dim) for name, dim in reversed(DIMS.items())})
    objective, targets = Softmax(artifacts.sequences), make_targets(backbone)
    return SequentialRecommender(gated(artifacts), states, targets, objective, {}, adam).float()


def step(model: SequentialRecommender) -> Tensor:
    optimizer: Any = model.configure_optimizers()
    model.train()
    loss = model.training_step({"items": left_pad([user[:-2] for user in USERS])}, 0)
    loss.backward()
    optimizer.step()
    return loss


@pytest.mark.filterwarnings("ignore:You are trying to `self.log")
@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_training_step_moves_every_expert_and_the_gate_but_no_text(backbone: str, artifacts: Artifacts) -> None:
    torch.manual_seed(0)
    model = recommender(artifacts, backbone)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    encoder: Any = model.item_encoder
    text = [encoder.experts[name].text.table.clone() for name in ("aligned", "text")]
    assert step(model).isfinite()
    assert all(p.isfinite().all() for p in model.parameters())
    still = {name for name, p in model.named_parameters() if torch.equal(p, before[name])}
    unused = set() if backbone == "bert4rec" else {"item_encoder.experts.text.mask_view"}
    assert still == unused
    for name, was in zip(("aligned", "text"), text, strict=True):
        assert torch.equal(encoder.experts[name].text.table, was)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_recommenders_score_is_the_gated_sum_of_its_experts_scores(backbone: str, artifacts: Artifacts) -> None:
    model = recommender(artifacts, backbone).double().eval()
    histories = left_pad([[1, 2, 3], [4], [5, 6, 7, 8]])
    scores = model.states(histories) @ model.output_table().T

    encoder: Any = model.item_encoder
    experts: Any = model.sequence_encoder
    shown = model.targets.inference(histories)
    views = encoder.views(IDS)
    expected = torch.zeros_like(scores)
    for column, name in enumerate(ORDER):
        backbone_of, mask = experts.experts[name], shown > 0
        states = backbone_of(backbone_of.embed(views[name][shown], mask), mask)[:, -1]
        expected += views["gate"][:, column] * (states @ views[name].T)
    torch.testing.assert_close(scores, expected, atol=1e-10, rtol=0)


@pytest.mark.filterwarnings("ignore:You are trying to `self.log")
@pytest.mark.parametrize("anchor", [1.0, 0.0], ids=["anchored", "no anchor"])
def test_the_align_phase_is_a_recommender_over_the_fused_view(anchor: float, artifacts: Artifacts) -> None:
    torch.manual_seed(0)
    encoder = FusedEncoder(N_ITEMS, artifacts.text, 8)
    states, objective = SingleView(make_backbone("sasrec"), "fused"), Softmax(artifacts.sequences, weight=anchor)
    model = SequentialRecommender(encoder, states, make_targets("sasrec"), objective, {"mmd": MMD(0.2)}, adam).float()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    text = encoder.text.table.clone()
    assert step(model).isfinite()
    assert torch.equal(encoder.text.table, text)
    moved = {name.split(".")[1] for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == ({"table", "adapter", "fuse", "backbone"} if anchor else {"table", "adapter"})
