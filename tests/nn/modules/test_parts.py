"""The step of several processes is the step of one: every loss and every gradient, without dropout."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from sage_pl import processes
from sage_pl.nn.decoders.item_decoder import ItemDecoder
from sage_pl.nn.decoders.language_model import LanguageModelDecoder
from sage_pl.nn.item_encoders.codes import CodeEncoder
from sage_pl.nn.item_encoders.dual import DualEncoder
from sage_pl.nn.item_encoders.gaussian import GaussianItems
from sage_pl.nn.item_encoders.id import IdEncoder
from sage_pl.nn.item_encoders.id_beside_text import IdBesideText
from sage_pl.nn.losses.base import LossTerm
from sage_pl.nn.modules.base import RecommenderModule
from sage_pl.nn.modules.gathering import in_parts
from sage_pl.nn.modules.generative import GenerativeRecommender
from sage_pl.nn.modules.sequential import SequentialRecommender
from sage_pl.nn.objectives.code_sequence import CodeSequence
from sage_pl.nn.objectives.codes import CodeCrossEntropy
from sage_pl.nn.objectives.sampled_softmax import SampledSoftmax
from sage_pl.nn.objectives.softmax import Softmax
from sage_pl.nn.sequence_encoders.code_prompt import CodePrompt
from sage_pl.nn.sequence_encoders.dual import DualView
from sage_pl.nn.sequence_encoders.melt import EnhancedUsers
from sage_pl.nn.sequence_encoders.single import SingleView
from sage_pl.nn.sequence_encoders.stosa import StochasticAttention
from tests.golden.prepared import BACKBONES, N_ITEMS, make_backbone, make_targets
from tests.joined import joined
from tests.nn.decoders.tiny import make_network
from tests.nn.modules.conftest import MAX_LEN
from tests.nn.modules.test_waits import (
    ADAM,
    DECODED_TERMS,
    DISTANCE_TERMS,
    LOSSES,
    OBJECTIVES,
    PROMPTS,
    ROW_ADAM,
    SINGLE_TERMS,
    TAIL_TERMS,
    TERMS,
    Files,
    files,
    loaded,
)

__all__ = ["files"]  # a fixture
Values = Mapping[str, Tensor]


def models_of(made: Files) -> dict[str, RecommenderModule]:
    """A model for every loss that there is and for every backbone; double precision, without dropout."""
    sequences = made.data.sequences
    models: dict[str, RecommenderModule] = {}
    chosen = [*(("sasrec", name) for name in OBJECTIVES), *((backbone, "bce") for backbone in BACKBONES)]
    for backbone, name in chosen:
        encoder, reader = IdEncoder(N_ITEMS, 8), SingleView(make_backbone(backbone))
        objective = OBJECTIVES[name](sequences)
        models[f"{backbone} {name}"] = SequentialRecommender(encoder, reader, make_targets(backbone), objective)
    for name, make in TERMS.items():
        backbone = "bert4rec" if name in ("exact", "alignment") else "sasrec"
        dual = DualEncoder(N_ITEMS, made.data.text, made.data.start, dim=8)
        objective = (Softmax if name == "exact" else SampledSoftmax)(sequences)
        terms = {name: make(made)}
        models[name] = SequentialRecommender(
            dual, DualView(make_backbone(backbone)), make_targets(backbone), objective, terms
        )
    readers: dict[str, Callable[[], tuple[Any, Any]]] = {
        **dict.fromkeys(
            SINGLE_TERMS,
            lambda: (IdBesideText(N_ITEMS, made.data.text, 8), SingleView(make_backbone("sasrec"))),
        ),
        **dict.fromkeys(
            TAIL_TERMS,
            lambda: (IdEncoder(N_ITEMS, 8), EnhancedUsers(make_backbone("sasrec", max_len=50), 3)),
        ),
        **dict.fromkeys(
            DISTANCE_TERMS, lambda: (GaussianItems(N_ITEMS, 8), StochasticAttention(8, MAX_LEN, dropout=0.0))
        ),
    }
    for name, parts in readers.items():
        make = {**SINGLE_TERMS, **TAIL_TERMS, **DISTANCE_TERMS}[name]
        encoder, reader = parts()
        models[name] = SequentialRecommender(
            encoder, reader, make_targets("sasrec"), SampledSoftmax(sequences), {name: make(made)}
        )
    for name, make in {**DECODED_TERMS, "codes": None}.items():
        decoder = ItemDecoder(made.tokens, N_ITEMS, make_network("bilinear", 8))
        encoder = CodeEncoder(N_ITEMS, made.tokens, 8, made.data.text)
        reader = SingleView(make_backbone("sasrec"), "item")
        terms = {name: make(made)} if make else {}
        models[name] = GenerativeRecommender(
            encoder, reader, make_targets("sasrec"), decoder, CodeCrossEntropy(sequences), terms
        )
    for name, make in PROMPTS.items():
        language = LanguageModelDecoder(made.tokens, N_ITEMS, made.llama, 16, rank=2, offline=True)
        encoder, prompt = CodeEncoder(N_ITEMS, made.tokens, language.network.dim), CodePrompt(language.network.dim)
        models[name] = GenerativeRecommender(
            encoder, prompt, make_targets("sasrec"), language, CodeSequence(sequences), {name: make(made)}
        )
    return {name: model.double() for name, model in models.items()}


def step_of(model: RecommenderModule, batch: Any) -> Values:
    """Every loss and every gradient of two steps, averaged over the processes; the second reads the bank of the first."""
    processes.seed(3)
    values: dict[str, Tensor] = {}
    for number in range(2):
        model.zero_grad()
        losses = model.losses(batch)
        sum(model.terms[name].weight * loss for name, loss in losses.items()).backward()  # type: ignore[union-attr]
        values |= {f"{number} {name}": processes.mean(loss.detach()) for name, loss in losses.items()}
        for name, weight in model.named_parameters():
            if weight.grad is not None:
                values[f"{number} grad {name}"] = processes.mean(weight.grad)
    return values


@pytest.fixture
def no_dropout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.nn.functional, "dropout", lambda x, *_, **__: x)


def test_every_loss_and_gradient_is_that_of_one_process(files: Files, no_dropout: None) -> None:
    models, batch = models_of(files), loaded(files.data)
    expected = {name: step_of(model, batch) for name, model in models.items()}
    for model in models.values():
        for term in model.terms.values():
            if hasattr(term, "bank"):
                term.bank = None
                term.known.zero_()  # type: ignore[operator]
    assert {type(term) for model in models.values() for term in model.terms.values()} == {
        type(make(files)) for make in LOSSES.values()
    }
    for values in joined(lambda: {name: step_of(model, batch) for name, model in models.items()}):
        for name, of_one in expected.items():
            torch.testing.assert_close(dict(values[name]), dict(of_one), rtol=1e-6, atol=1e-9, msg=name)


def weights_after(model: RecommenderModule, batches: list[Any]) -> dict[str, Tensor]:
    """Weights after a step of each batch, as Lightning takes it."""
    optimizer: Any = model.configure_optimizers()
    processes.seed(3)
    for batch in batches:
        optimizer.zero_grad()
        model.training_step(batch, 0).backward()
        model.on_after_backward()
        optimizer.step()
    return {name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)}


def test_steps_of_processes_lead_to_the_weights_of_one(files: Files, no_dropout: None) -> None:
    """Also by gradients of some rows, with a loss of another package, and where a batch has fewer users than processes."""
    sequences, whole = files.data.sequences, loaded(files.data)
    single: Any = {key: whole[key][:1] for key in ("items", "user")}  # type: ignore[literal-required]
    batches = [{key: whole[key] for key in ("items", "user")}, single, single]  # type: ignore[literal-required]
    models = {}
    for sparse, optimizer in ((False, ADAM), (True, ROW_ADAM)):
        for backbone in ("sasrec", "bert4rec"):
            encoder, reader = IdEncoder(N_ITEMS, 8, sparse=sparse), SingleView(make_backbone(backbone))
            terms = {"cross": MSEOfUsers(0.1)} if not sparse else {}
            models[f"{backbone} {sparse}"] = SequentialRecommender(
                encoder, reader, make_targets(backbone), SampledSoftmax(sequences), terms, optimizer
            ).double()
    two = joined(lambda: {name: weights_after(model, batches) for name, model in models.items()})
    one = {name: weights_after(model, batches) for name, model in models.items()}
    for weights in two:
        for name in models:
            torch.testing.assert_close(weights[name], one[name], rtol=1e-6, atol=1e-9, msg=name)


class MSEOfUsers(LossTerm):
    """Reads every state, as a loss of a user's own package may."""

    def forward(self, step: Any) -> Tensor:
        return step.hidden.square().mean() + step.user_states().square().mean()


def test_rows_computed_in_parts_come_back_in_order() -> None:
    groups = [torch.arange(5)[:, None], torch.arange(5, 6)[:, None], torch.arange(6, 9)[:, None]]
    work = lambda: in_parts(groups, lambda rows: rows.double() * 2)  # noqa: E731
    for result in (work(), *joined(work, 3), *joined(work, 2)):
        assert result[:, 0].tolist() == list(range(0, 18, 2))


def test_draws_are_shared_and_dropout_is_not() -> None:
    def draw() -> tuple[list[float], list[float]]:
        processes.seed(5)
        shared = []
        for _ in range(2):
            torch.rand(1 + processes.rank())  # dropout, of another size in each
            with processes.same_draws():
                shared += torch.rand(3).tolist()
        return shared, torch.rand(3).tolist()

    (first, of_first), (second, of_second) = joined(draw)
    torch.manual_seed(5)
    assert first == second == torch.rand(6).tolist()
    assert of_first != of_second
