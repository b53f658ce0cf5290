import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sage_pl.data.datamodule import SequenceDataModule
from sage_pl.data.targets import NextItem, Prefixes
from sage_pl.errors import SettingError
from sage_pl.nn.decoders.item_decoder import ItemDecoder
from sage_pl.nn.item_encoders.codes import CodeEncoder
from sage_pl.nn.item_encoders.id import IdEncoder
from sage_pl.nn.losses.base import LossTerm
from sage_pl.nn.losses.code_negatives import CodeNegatives
from sage_pl.nn.losses.code_tasks import QueryToCode, TextsToCode, TextToCode
from sage_pl.nn.losses.code_texts import CodeToText, StateToText
from sage_pl.nn.modules.generative import GenerativeRecommender
from sage_pl.nn.modules.sequential import SequentialRecommender
from sage_pl.nn.objectives.codes import CodeCrossEntropy
from sage_pl.nn.objectives.softmax import Softmax
from sage_pl.nn.sequence_encoders.code_tokens import CodeTokens
from sage_pl.nn.sequence_encoders.single import SingleView
from sage_pl.training.callbacks.at_chance import AtChance
from sage_pl.types import Recommender, SeqBatch
from tests.golden.prepared import (
    BACKBONES,
    N_ITEMS,
    Artifacts,
    adam,
    left_pad,
    make_backbone,
    make_targets,
    write_rows,
    write_sequences,
)
from tests.nn.decoders.tiny import make_network, random_codes, write_tokens
from tests.nn.modules.test_sequential import trainer
from tests.nn.modules.test_waits import Asked

HISTORIES = left_pad([[1, 2, 3], [4], [5, 6, 7, 8]])
ANSWERS = torch.tensor([4, 9, 5])
Make = Callable[..., GenerativeRecommender]


@pytest.fixture
def make(artifacts: Artifacts, tokens: str) -> Make:
    """One state per position with any backbone and all tasks, or an encoder-decoder (``t5``); single precision, no dropout."""

    def model(backbone: str = "sasrec", tasks: bool = True, **choices: Any) -> GenerativeRecommender:
        whole = backbone == "t5"
        decoder = ItemDecoder(tokens, N_ITEMS, make_network("t5" if whole else "bilinear", 8), **choices)
        items = CodeEncoder(N_ITEMS, tokens, 8, artifacts.text)
        terms: dict[str, LossTerm] = {
            "text_to_code": TextToCode(0.1, artifacts.sequences, 4),
            "texts_to_code": TextsToCode(0.1),
            "query_to_code": QueryToCode(0.1, tokens, N_ITEMS, 8),
            "code_to_text": CodeToText(0.1, artifacts.sequences, 4),
            "state_to_text": StateToText(0.1),
            "code_negatives": CodeNegatives(0.1, tokens, N_ITEMS, after=1),
        }
        reader: Any = CodeTokens(8, 6, 1, 2, dropout=0.0) if whole else SingleView(make_backbone(backbone), "item")
        targets = Prefixes() if whole else make_targets(backbone)
        named = terms if tasks else {}
        return GenerativeRecommender(
            items, reader, targets, decoder, CodeCrossEntropy(artifacts.sequences), named, adam
        ).float()

    return model


def shuffled(model: GenerativeRecommender) -> GenerativeRecommender:
    """With weights large enough to tell items apart."""
    for seed, weight in enumerate(model.decoder.parameters()):
        torch.nn.init.normal_(weight, std=0.7, generator=torch.Generator().manual_seed(seed))
    return model.eval()


@pytest.mark.parametrize("backbone", [*BACKBONES, "t5"])
def test_a_fit_logs_every_term_and_moves_every_part(
    backbone: str, make: Make, datamodule: SequenceDataModule, tmp_path: Path
) -> None:
    model = make(backbone)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    run = trainer(tmp_path, max_epochs=3, limit_val_batches=0)
    run.fit(model, datamodule)
    logged = {name.rpartition("/")[2]: value for name, value in run.callback_metrics.items() if "loss/" in name}
    assert logged.keys() == model.terms.keys()
    assert all(value.isfinite() and value > 0 for value in logged.values())
    total = sum(model.terms[name].weight * value for name, value in logged.items())
    torch.testing.assert_close(run.callback_metrics["train/loss"], total)
    still = {name for name, p in model.named_parameters() if torch.equal(p, before[name])}
    assert still <= {"item_encoder.mask_view", "decoder.network.turn"} if backbone != "bert4rec" else not still
    assert model.item_encoder.codes is model.decoder.codes  # type: ignore[union-attr]


def test_states_of_codes_need_a_decoder_that_reads_them_all(tokens: str, artifacts: Artifacts) -> None:
    """A label's place counts items: it would read the state of another item's code, and a later one."""
    parts: Any = (CodeEncoder(N_ITEMS, tokens, 8), CodeTokens(8, 6, 1, 2), Prefixes())
    for kind in ("bilinear", "transformer"):
        decoder = ItemDecoder(tokens, N_ITEMS, make_network(kind, 8))
        with pytest.raises(SettingError, match="use decoder=t5"):
            GenerativeRecommender(*parts, decoder, CodeCrossEntropy(artifacts.sequences), {}, adam)
    with pytest.raises(SettingError, match="use model=generative decoder=t5"):
        SequentialRecommender(*parts)


@pytest.mark.parametrize("exhaustive_up_to", [100, 0], ids=["every item", "beams"])
@pytest.mark.parametrize("backbone", ["sasrec", "t5"])
def test_ranks_equal_brute_force(backbone: str, exhaustive_up_to: int, make: Make) -> None:
    """Beams for all prefixes reach every item, so both ways give the same ranks."""
    model = shuffled(make(backbone, exhaustive_up_to=exhaustive_up_to))
    candidates = torch.tensor([[1, 2], [5, 6], [9, 10]])
    batch: SeqBatch = {"items": HISTORIES, "answer": ANSWERS, "candidates": candidates, "seen": HISTORIES}
    ranks, plain = model.answer_ranks(batch), model.answer_ranks({"items": HISTORIES, "answer": ANSWERS})
    for row, answer in enumerate(ANSWERS.tolist()):
        alone = model.memory(HISTORIES[row][HISTORIES[row] > 0][None])
        scores = [torch.nan, *model.decoder.log_probs(alone, torch.arange(1, N_ITEMS + 1)[None])[0].tolist()]
        seen = set(HISTORIES[row].tolist())
        better = {item for item in range(1, N_ITEMS + 1) if scores[item] > scores[answer]}
        assert plain["full"][row] == 1 + len(better)
        assert ranks["full"][row] == (N_ITEMS if answer in seen else 1 + len(better - seen))
        assert ranks["sampled2"][row] == 1 + len(better & set(candidates[row].tolist()))
    assert isinstance(model, Recommender)


@pytest.mark.parametrize("exclude_seen", [True, False], ids=["new items", "all items"])
def test_recommendations_are_the_likeliest_items(exclude_seen: bool, make: Make) -> None:
    model = shuffled(make())
    found = model.recommend(HISTORIES, 3, exclude_seen)
    scores = model.decoder.all_log_probs(model.memory(HISTORIES))
    for row, ids in enumerate(found.ids.tolist()):
        allowed = set(range(1, N_ITEMS + 1)) - (set(HISTORIES[row].tolist()) if exclude_seen else set())
        assert ids == sorted(allowed, key=lambda item: -scores[row, item - 1])[:3]
        assert found.scores[row].tolist() == pytest.approx(
            [scores[row, item - 1].item() for item in ids], rel=1e-5, abs=1e-5
        )


@pytest.mark.parametrize("backbone", [*BACKBONES, "t5"])
def test_a_served_state_ignores_padding_and_other_users(backbone: str, make: Make) -> None:
    model = make(backbone).double().eval()
    states = model.states(torch.nn.functional.pad(HISTORIES, (2, 0)))
    for row, state in zip(HISTORIES, states, strict=True):
        torch.testing.assert_close(model.states(row[row > 0][None])[0], state, atol=1e-12, rtol=0)


@pytest.mark.parametrize("exhaustive_up_to", [100, 0], ids=["every item", "beams"])
def test_a_test_says_how_ranks_came_about(
    exhaustive_up_to: int, make: Make, datamodule: SequenceDataModule, tmp_path: Path
) -> None:
    run = trainer(tmp_path)
    run.test(make(exhaustive_up_to=exhaustive_up_to, beams=7), datamodule, verbose=False)
    told = {name.rpartition("/")[2]: value.item() for name, value in run.callback_metrics.items()}
    expected = {"exhaustive": 1.0, "collisions": 0.0, "beams": 100.0, "beam_recall@20": 1.0}
    assert told == (expected if exhaustive_up_to else {"exhaustive": 0.0, "collisions": 0.0, "beams": 100.0})


def test_beams_are_told_as_they_were_searched_with(make: Make, artifacts: Artifacts, tmp_path: Path) -> None:
    """Users have 5, 3, 7, 2 and 8 seen items: 8, 4, 8, 2 and 8 more beams than the 100 of 20 items."""
    run = trainer(tmp_path)
    model = make(exhaustive_up_to=0, beams=7)
    run.test(model, SequenceDataModule(artifacts.sequences, max_len=6, eval_batch_size=2, seen="mask"), verbose=False)
    assert run.callback_metrics["test/generation/beams"].item() == pytest.approx(100 + (8 + 4 + 8 + 2 + 8) / 5)


def test_collisions_are_counted_as_what_they_are(
    artifacts: Artifacts, datamodule: SequenceDataModule, tmp_path: Path
) -> None:
    """All items have the same codes: any of ten may be meant."""
    tokens = write_tokens(tmp_path / "tokens", [[0, 0]] * N_ITEMS, (1, 1))
    decoder = ItemDecoder(tokens, N_ITEMS, make_network("bilinear", 8))
    items, reader = CodeEncoder(N_ITEMS, tokens, 8), SingleView(make_backbone("sasrec").float(), "item")
    model = GenerativeRecommender(items, reader, NextItem(), decoder)
    run = trainer(tmp_path)
    run.test(model, datamodule, verbose=False)
    assert run.callback_metrics["test/generation/collisions"].item() == 1
    assert run.callback_metrics["test/generation/item_hr@5"].item() == pytest.approx(0.5)
    assert run.callback_metrics["test/generation/item_hr@10"].item() == pytest.approx(1)
    ranks = model.answer_ranks({"items": HISTORIES, "answer": ANSWERS})["full"]
    assert ranks.tolist() == [6, 6, 6]  # 1 + half of nine ties, rounded up


@pytest.mark.parametrize("backbone", [*BACKBONES, "t5"])
def test_a_training_step_in_mixed_precision(
    backbone: str, make: Make, datamodule: SequenceDataModule, tmp_path: Path
) -> None:
    model = make(backbone)
    run = trainer(tmp_path, max_steps=1, precision="bf16-mixed", limit_val_batches=1, num_sanity_val_steps=0)
    run.fit(model, datamodule)
    assert all(p.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_host_never_waits_for_a_step(backbone: str, make: Make, datamodule: SequenceDataModule) -> None:
    model = make(backbone)
    batch = model.on_before_batch_transfer(next(iter(datamodule.train_dataloader())), 0)
    with Asked() as asked:
        model.training_step(batch, 0).backward()
    assert asked.names == []


def test_nobodys_list_depends_on_who_else_is_asked_for(make: Make) -> None:
    """Beams grow with the items to leave out, each user's own and not the batch's longest history."""
    model = shuffled(make(tasks=False, beams=1, exhaustive_up_to=0))
    histories = left_pad([[1, 2, 3, 4, 5], [4], [5, 6]])

    def reached(items: torch.Tensor) -> list[set[int]]:
        return [set(row.tolist()) - {0} for row in model._search(model.memory(items), 1, items).ids]

    together = reached(histories)
    for row, history in enumerate(histories):
        assert reached(history[None, -int((history > 0).sum()) :]) == together[row : row + 1]
    assert len(together[0]) > len(together[1])


def test_losses_are_of_items_as_they_are_ranked(make: Make, artifacts: Artifacts) -> None:
    model = make()
    with pytest.raises(ValueError, match="this objective does not train; use objective=codes"):
        GenerativeRecommender(
            model.item_encoder, model.sequence_encoder, model.targets, model.decoder, Softmax(artifacts.sequences)
        )
    items = IdEncoder(N_ITEMS, 8)
    codes = CodeCrossEntropy(artifacts.sequences)
    for objective, terms in ((codes, {}), (Softmax(artifacts.sequences), {"asked": codes})):
        with pytest.raises(ValueError, match="for items that are decoded, and here items are ranked by inner products"):
            SequentialRecommender(items, SingleView(make_backbone("sasrec")), NextItem(), objective, terms)


def test_parts_that_do_not_fit_are_refused(make: Make, tokens: str, datamodule: SequenceDataModule) -> None:
    decoder, reader = ItemDecoder(tokens, N_ITEMS, make_network("bilinear", 4)), SingleView(make_backbone("sasrec"))
    with pytest.raises(ValueError, match=r"states are 8 wide, the decoder's network is 4"):
        GenerativeRecommender(CodeEncoder(N_ITEMS, tokens, 8), reader, NextItem(), decoder)
    beams = ItemDecoder(tokens, N_ITEMS, make_network("bilinear", 8), exhaustive_up_to=0)
    with pytest.raises(ValueError, match="raise that number or use scorer=none"):
        GenerativeRecommender(CodeEncoder(N_ITEMS, tokens, 8), reader, NextItem(), beams, scorer=reader)  # type: ignore[arg-type]
    model = make("t5")
    model.targets = NextItem()
    with pytest.raises(ValueError, match="use targets=prefixes"):
        model.on_before_batch_transfer(next(iter(datamodule.train_dataloader())), 0)


def cycle_model(tmp_path: Path, n_items: int, terms: Any, **items: Any) -> tuple[GenerativeRecommender, str]:
    """Users walk through items 1..n - 1 in a circle; item n is never touched."""
    random, n = np.random.default_rng(0), n_items - 1
    users = [[1 + (start + step) % n for step in range(8)] for start in random.integers(0, n, 150)]
    sequences = write_sequences(tmp_path / "cycle", users, n_items)
    codes = random_codes(1, 60, (4, 4, 4))[:n_items]
    tokens = write_tokens(tmp_path / "cycle_tokens", codes, (4, 4, 4))
    decoder = ItemDecoder(tokens, n_items, make_network("bilinear", 16))
    encoder = CodeEncoder(n_items, tokens, 16, **items)
    reader = SingleView(make_backbone("gru4rec", 16).float(), "item")
    model = GenerativeRecommender(
        encoder, reader, NextItem(), decoder, CodeCrossEntropy(sequences), terms(sequences), adam
    )
    return model, sequences


def test_it_learns_what_always_follows(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, sequences = cycle_model(tmp_path, 21, lambda _: {})
    run = trainer(tmp_path, max_epochs=30, limit_val_batches=0)
    run.fit(model, SequenceDataModule(sequences, max_len=6, batch_size=32))
    best = model.eval().recommend(torch.arange(1, 20)[:, None] + torch.tensor([[0]]), 1, exclude_seen=False)
    assert best.ids[:, 0].tolist() == list(range(2, 21))


def test_an_item_nobody_touched_is_decoded_from_its_text(tmp_path: Path) -> None:
    text = write_rows(tmp_path / "text", np.random.default_rng(2).normal(size=(21, 8)))
    found = {}
    for name, terms in {
        "alone": lambda _: {},
        "text_to_code": lambda sequences: {"text_to_code": TextToCode(1.0, sequences, 21)},
    }.items():
        torch.manual_seed(0)
        model, sequences = cycle_model(tmp_path, 21, terms, text=text)
        run = trainer(tmp_path, max_epochs=25, limit_val_batches=0)
        run.fit(model, SequenceDataModule(sequences, max_len=6, batch_size=32))
        state = model.item_encoder.views(torch.tensor([21]))["text"][:, None]
        scores = model.decoder.all_log_probs(type(model.memory(HISTORIES))(state, torch.ones(1, 1, dtype=torch.bool)))
        found[name] = int(scores.argmax()) + 1
    assert found["text_to_code"] == 21
    assert found["alone"] != 21


@pytest.mark.parametrize(("epochs", "names"), [(2, set()), (4, {"text_to_code", "texts_to_code"})])
def test_a_task_that_learns_nothing_gets_one_line(
    epochs: int,
    names: set[str],
    make: Make,
    datamodule: SequenceDataModule,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """After three epochs, where nothing is trained; of the terms over all items, whose loss of a guess is one number."""
    model = make()
    model.optimizer = lambda parameters: torch.optim.SGD(parameters, lr=0.0)
    with caplog.at_level(logging.WARNING, logger="sage_pl"):
        trainer(tmp_path, max_epochs=epochs, limit_val_batches=0, callbacks=[AtChance(3)]).fit(model, datamodule)
    lines = [record.getMessage() for record in caplog.records]
    assert {line.split()[3] for line in lines} == names
    assert len(lines) == len(names)
    assert all("after 3 epochs, and 2.30 where nothing is known" in line for line in lines)
