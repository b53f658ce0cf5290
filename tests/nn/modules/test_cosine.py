"""Cosines over a temperature: the same scores in losses, ranks and served tables."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from sage_pl.evaluation.ranks import full_ranks
from sage_pl.nn.item_encoders.cached import CachedItems
from sage_pl.nn.item_encoders.dual import DualEncoder
from sage_pl.nn.item_encoders.id import IdEncoder
from sage_pl.nn.item_encoders.unit import UnitItems
from sage_pl.nn.losses.base import LossTerm
from sage_pl.nn.modules.sequential import SequentialRecommender
from sage_pl.nn.objectives.sampled_softmax import SampledSoftmax
from sage_pl.nn.objectives.softmax import Softmax
from sage_pl.nn.sequence_encoders.cosine import CosineStates
from sage_pl.nn.sequence_encoders.dual import DualView
from sage_pl.nn.sequence_encoders.single import SingleView
from sage_pl.types import SeqBatch
from tests.golden.prepared import N_ITEMS, USERS, Artifacts, adam, left_pad, make_backbone, make_targets

T = 0.07


def model(objective: LossTerm, backbone: str = "sasrec", dual: Artifacts | None = None) -> SequentialRecommender:
    items, states = (
        (IdEncoder(N_ITEMS, dim=8), SingleView(make_backbone(backbone)))
        if dual is None
        else (DualEncoder(N_ITEMS, dual.text, dual.start, dim=8), DualView(make_backbone(backbone)))
    )
    parts = UnitItems(items), CosineStates(states, T)
    return SequentialRecommender(*parts, make_targets(backbone), objective, {}, adam).double()


def batch(padding: int = 0) -> SeqBatch:
    items = left_pad([user[-5:] for user in USERS])
    return {"items": F.pad(items, (padding, 0)), "user": torch.arange(len(USERS))}


@pytest.mark.parametrize("dual", [False, True])
def test_scores_are_cosines_over_the_temperature(dual: bool, artifacts: Artifacts) -> None:
    cosine = model(Softmax(artifacts.sequences, "all"), dual=artifacts if dual else None).eval()
    items = batch()["items"]
    views = cosine.item_encoder.views(torch.arange(N_ITEMS + 2))
    raw = cosine.item_encoder.encoder.output(views)  # type: ignore[attr-defined]
    plain = SequentialRecommender(
        cosine.item_encoder.encoder,
        cosine.sequence_encoder.encoder,
        cosine.targets,  # type: ignore[attr-defined]
    ).eval()
    expected = F.cosine_similarity(plain.states(items)[:, None], raw[None, 1:-1], dim=-1) / T
    scores = cosine.states(items) @ cosine.output_table()[1:-1].T
    torch.testing.assert_close(scores, expected, atol=1e-9, rtol=0)
    assert dual or not cosine.output_table()[0].any(), "a row of zeros stays zero"


def test_the_loss_and_its_gradient_are_those_of_the_formula(artifacts: Artifacts) -> None:
    """``-log softmax_i(cos(h, v_i) / t)``, with autograd through both lengths."""
    objective = Softmax(artifacts.sequences, "all")
    cosine = model(objective)
    step = cosine.step(cosine.prepare(batch()))
    loss = objective(step)
    table = cosine.item_encoder.encoder.table.weight  # type: ignore[attr-defined]
    inner = cosine.sequence_encoder.encoder  # type: ignore[attr-defined]
    real = step.batch["items"] > 0
    states = inner({"id": table[step.batch["items"]]}, real, step.batch).flatten(0, 1)[step.batch["labels"]]
    logits = states @ table.T / (states.norm(dim=1)[:, None] * table.norm(dim=1).clamp(min=1e-12)[None]) / T
    ids = objective.candidate_ids
    place = {int(item): at for at, item in enumerate(ids)}
    targets = torch.tensor([place[int(item)] for item in step.batch["targets"].flatten()[step.batch["labels"]]])
    expected = F.cross_entropy(logits[:, ids], targets)
    torch.testing.assert_close(loss, expected, atol=1e-10, rtol=0)
    parameters = [p for p in cosine.parameters() if p.requires_grad]
    ours, theirs = (torch.autograd.grad(value, parameters, retain_graph=True) for value in (loss, expected))
    for mine, want in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, want, atol=1e-9, rtol=1e-9)


def test_with_every_candidate_as_a_negative_the_sampled_softmax_is_the_whole_one(
    artifacts: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    objective = SampledSoftmax(artifacts.sequences, "all")
    objective.negatives = len(objective.candidate_ids)
    monkeypatch.setattr(objective, "draw_candidates", lambda shape: objective.candidate_ids)
    cosine = model(objective)
    step = cosine.step(cosine.prepare(batch()))
    whole = Softmax(artifacts.sequences, "all")
    other = model(whole)
    other.load_state_dict(cosine.state_dict())
    torch.testing.assert_close(objective(step), whole(other.step(other.prepare(batch()))), atol=1e-10, rtol=0)


@pytest.mark.parametrize("backbone", ["sasrec", "gru4rec"])
def test_more_padding_changes_neither_the_loss_nor_a_state(backbone: str, artifacts: Artifacts) -> None:
    objective = Softmax(artifacts.sequences, "all")
    cosine = model(objective, backbone)
    losses = [objective(cosine.step(cosine.prepare(batch(n)))) for n in (0, 1)]
    torch.testing.assert_close(losses[1], losses[0], atol=1e-10, rtol=0)
    short, long = (cosine.encode(batch(n)["items"], last_only=False)[0] for n in (0, 1))
    torch.testing.assert_close(long[:, 1:], short, atol=1e-10, rtol=0)
    assert not long[:, :1].any()
    torch.testing.assert_close(
        short.norm(dim=-1)[short.any(-1)], torch.full((int(short.any(-1).sum()),), 1 / T).double()
    )


def test_ranks_are_those_of_the_cosines_and_tables_hold_them(artifacts: Artifacts) -> None:
    cosine = model(Softmax(artifacts.sequences, "all")).eval()
    items, answers = batch()["items"], torch.tensor([4, 9, 5, 1, 7])
    states, table = cosine.states(items), cosine.output_table()
    cosines = F.normalize(states, dim=1) @ F.normalize(table[:], dim=1).T
    expected = [1 + int((row[1:-1] > row[answer]).sum()) for row, answer in zip(cosines, answers, strict=True)]
    assert full_ranks(states, table, answers, None).tolist() == expected
    served = CachedItems.of(cosine.item_encoder, ["id"], torch.device("cpu"))
    torch.testing.assert_close(served.output(served.views(torch.arange(N_ITEMS + 2))), table[:])
