"""A recommender whose users have interests: what the contract gives, alone and in a batch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch

from sage_pl.nn.item_encoders.id import IdEncoder
from sage_pl.nn.losses.distillation_bank import BankDistillation
from sage_pl.nn.modules.sequential import SequentialRecommender
from sage_pl.nn.objectives.softmax import Softmax
from sage_pl.nn.scorers.semantic import SemanticSimilarity
from sage_pl.nn.sequence_encoders.interest_queries import TextQueries
from sage_pl.nn.sequence_encoders.interests import InterestEncoder
from sage_pl.nn.sequence_encoders.sam import InterestAttention
from tests.golden.prepared import (
    BACKBONES,
    N_ITEMS,
    USERS,
    Artifacts,
    adam,
    left_pad,
    make_backbone,
    make_targets,
    write,
)

HISTORIES, IDS = left_pad([[1, 2, 3], [4], [5, 6, 7, 8], [9, 1]]), torch.tensor([1, 2, 3, 4])
Make = Callable[..., SequentialRecommender]


@pytest.fixture
def make(artifacts: Artifacts, tmp_path: Path) -> Make:
    counts = np.array([0, 2, 0, 3, 1, 1])
    values = np.random.default_rng(0).normal(size=(7, 6)).astype(np.float16)
    folder = write(tmp_path / "interests", values=values, offsets=np.concatenate([[0], np.cumsum(counts)]))

    def recommender(backbone: str = "sasrec", readout: Any = "mean", **parts: Any) -> SequentialRecommender:
        torch.manual_seed(3)
        attention = InterestAttention(TextQueries(folder, 5, 8), 8, 9, heads=2, dropout=0.0)
        encoder = InterestEncoder(make_backbone(backbone, max_len=9), attention, readout)
        model = SequentialRecommender(
            IdEncoder(N_ITEMS, 8), encoder, make_targets(backbone), Softmax(artifacts.sequences), {}, adam, **parts
        ).double()
        encoder.gamma.data.fill_(2.0)  # type: ignore[union-attr]
        return model.eval()

    return recommender


@pytest.mark.parametrize("readout", ["mean", "max"])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_alone_and_batched_rank_and_recommend_alike(backbone: str, readout: str, make: Make) -> None:
    model, answers = make(backbone, readout), torch.tensor([4, 9, 5, 2])
    batch: Any = {"items": HISTORIES, "answer": answers, "user": IDS}
    ranks, best = model.answer_ranks(batch)["full"], model.recommend(HISTORIES, 3, False, IDS)
    states = model.states(HISTORIES, IDS)
    assert states.ndim == (3 if readout == "max" else 2)
    for row, history in enumerate(HISTORIES):
        own = history[history > 0][None]
        one: Any = {"items": own, "answer": answers[row : row + 1], "user": IDS[row : row + 1]}
        torch.testing.assert_close(model.states(own, one["user"])[0], states[row], atol=1e-12, rtol=0)
        assert model.answer_ranks(one)["full"].item() == ranks[row]
        assert model.recommend(own, 3, False, one["user"]).ids.tolist() == best.ids[row : row + 1].tolist()


@pytest.mark.parametrize("readout", ["mean", "max"])
def test_who_a_user_is_matters_and_may_be_unknown(readout: str, make: Make) -> None:
    model = make("sasrec", readout)
    known, unknown, nobody = model.states(HISTORIES, IDS), model.states(HISTORIES), model.states(HISTORIES, IDS * 0)
    assert torch.equal(unknown, nobody)
    same = (known == unknown).flatten(1).all(1)
    assert same.tolist() == [False, True, False, False]  # user 2 has no interests


@pytest.mark.parametrize("readout", ["mean", "max"])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_state_that_is_trained_is_the_one_that_is_served(backbone: str, readout: str, make: Make) -> None:
    model = make(backbone, readout)
    batch: Any = {"items": left_pad(USERS), "user": torch.arange(1, 6)}
    step = model.step(model.prepare(batch))
    trained = step.hidden[step.batch["state_rows"], -1]
    served = model.states(left_pad([user[:-1] for user in USERS]), batch["user"])
    torch.testing.assert_close(trained, served, atol=1e-12, rtol=0)
    if readout == "max":
        with pytest.raises(ValueError, match=r"has several here; use sequence_encoder\.readout=mean"):
            step.user_states()
    else:
        assert torch.equal(step.user_states(), trained)


@pytest.mark.parametrize("pool", ["max", "mean"])
@pytest.mark.parametrize("readout", ["mean", "max"])
def test_a_scorer_joins_every_state(
    readout: str, pool: Literal["max", "mean"], make: Make, artifacts: Artifacts
) -> None:
    scorer = SemanticSimilarity(N_ITEMS, artifacts.text, 0.5, pool).double()
    plain, scored = make("sasrec", readout), make("sasrec", readout, scorer=scorer)
    (_, own), *rest = plain.item_scores(HISTORIES, IDS)
    (_, both), *_ = scored.scored(HISTORIES, IDS)
    assert not rest
    torch.testing.assert_close(both, scorer(own, HISTORIES), atol=1e-12, rtol=0)
    assert not torch.equal(both, own)


def test_a_scorer_reads_what_the_model_reads(make: Make, artifacts: Artifacts) -> None:
    """A longer history changes nothing, so that ranks and lists come from the same scores."""
    scored = make("sasrec", "mean", scorer=SemanticSimilarity(N_ITEMS, artifacts.text, 0.5).double(), max_len=2)
    (_, whole), *_ = scored.scored(HISTORIES, IDS)
    (_, last), *_ = scored.scored(HISTORIES[:, -2:], IDS)
    torch.testing.assert_close(whole, last, atol=1e-12, rtol=0)


def test_a_term_on_users_states_goes_with_averaged_interests(make: Make) -> None:
    term = BankDistillation(1.0, 5)
    batch: Any = {
        "items": left_pad(USERS),
        "user": torch.arange(1, 6),
        "neighbour_users": torch.tensor([[2], [3], [1], [5], [4]]),
    }
    model = make()
    step = model.step(model.prepare(batch))
    term(step)
    assert term(step) > 0
