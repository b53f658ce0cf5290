"""A causal language model over codes, on a tiny random one: no weights and no network are needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from sage_pl.data.datamodule import SequenceDataModule
from sage_pl.data.targets import Cloze, NextItem, Prefixes
from sage_pl.errors import SettingError
from sage_pl.nn.decoders.language_model import PAD, LanguageModelDecoder
from sage_pl.nn.decoders.search import beam_search, best
from sage_pl.nn.item_encoders.codes import CodeEncoder
from sage_pl.nn.losses.prompts import HistoryPrompt, ItemPrompt
from sage_pl.nn.modules.generative import GenerativeRecommender
from sage_pl.nn.objectives.code_sequence import CodeSequence
from sage_pl.nn.objectives.codes import CodeCrossEntropy
from sage_pl.nn.sequence_encoders.code_prompt import CodePrompt
from sage_pl.types import Recommender, SeqBatch
from tests.golden.prepared import N_ITEMS, Artifacts, adam, left_pad
from tests.nn.modules.test_sequential import trainer

HISTORIES = left_pad([[1, 2, 3], [4], [5, 6, 7, 8]])
WIDTH = 16


def make(llama: str, tokens: str, **choices: Any) -> LanguageModelDecoder:
    """With adapters and code vectors that matter, in evaluation mode."""
    torch.manual_seed(1)
    decoder = LanguageModelDecoder(tokens, N_ITEMS, llama, WIDTH, rank=2, dropout=0.0, offline=True, **choices)
    generator = torch.Generator().manual_seed(3)
    for name, weight in decoder.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.3, generator=generator)
    torch.nn.init.normal_(decoder.codes.weight, std=0.7, generator=generator)
    return decoder.eval()


def model_of(decoder: LanguageModelDecoder, tokens: str, sequences: str, **choices: Any) -> GenerativeRecommender:
    items = CodeEncoder(N_ITEMS, tokens, WIDTH)
    settings = {"targets": NextItem(), "objective": CodeSequence(sequences), "terms": {}, "optimizer": adam, **choices}
    return GenerativeRecommender(items, CodePrompt(WIDTH), decoder=decoder, **settings)


def naive_log_probs(model: GenerativeRecommender, history: list[int]) -> list[float]:
    """Every item after one history, by the language model as it is: one whole row of embeddings per item, no cache."""
    decoder: Any = model.decoder
    network, codes = decoder.network, decoder.codes
    words = network.words(network.prompt)
    read = [*words, *(codes(torch.tensor(i))[t] for i in history for t in range(codes.levels))]
    strings = {i: codes.codes[i].tolist() for i in range(1, N_ITEMS + 1)}
    found = []
    for own in strings.values():
        total = 0.0
        for level, code in enumerate(own):
            row = torch.stack([*read, *(codes.table(t)[own[t]] for t in range(level))])
            state = network.model(inputs_embeds=row[None], output_hidden_states=True).hidden_states[-1][0, -1]
            logits = codes.table(level) @ state
            children = sorted({other[level] for other in strings.values() if other[:level] == own[:level]})
            total += float(logits[code] - logits[children].logsumexp(0))
        found.append(total)
    return found


@pytest.fixture
def model(llama: str, tokens: str, artifacts: Artifacts) -> GenerativeRecommender:
    return model_of(make(llama, tokens, beams=30), tokens, artifacts.sequences).eval()  # enough for every item


@torch.no_grad()
def test_scores_with_the_cache_equal_those_of_whole_rows(model: GenerativeRecommender) -> None:
    memory, ids = model.memory(HISTORIES), torch.arange(1, N_ITEMS + 1)[None]
    scores = model.decoder.all_log_probs(memory)
    for row, history in enumerate(HISTORIES.tolist()):
        expected = torch.tensor(naive_log_probs(model, [i for i in history if i]))
        torch.testing.assert_close(scores[row], expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(model.decoder.log_probs(memory, ids.expand(3, -1)), scores, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(scores.exp().sum(1), torch.ones(3)), "the items' probabilities sum to 1"


@torch.no_grad()
def test_beams_that_reach_everything_rank_as_scoring_every_item_does(model: GenerativeRecommender) -> None:
    memory, ids = model.memory(HISTORIES), torch.arange(1, N_ITEMS + 1)[None]
    scores = model.decoder.all_log_probs(memory)
    expected = scores.sort(descending=True)
    found = best(beam_search(model.decoder, memory, 30), N_ITEMS)
    assert torch.equal(found.ids, ids[0][expected.indices])
    torch.testing.assert_close(found.scores, expected.values, atol=1e-4, rtol=1e-4)
    # the contract: lists without what was seen, ranks, restriction
    lists = model.recommend(HISTORIES, 3, exclude_seen=True)
    for row, history in enumerate(HISTORIES.tolist()):
        order = [i for i in ids[0][expected.indices[row]].tolist() if i not in history]
        assert lists.ids[row].tolist() == order[:3]
    allowed = torch.zeros(N_ITEMS + 2, dtype=torch.bool)
    allowed[[2, 9]] = True
    assert set(model.recommend(HISTORIES, 2, False, allowed=allowed).ids.flatten().tolist()) == {2, 9}
    answers = {"items": HISTORIES, "answer": torch.tensor([4, 9, 5])}
    ranks = model.answer_ranks(answers)["full"]  # type: ignore[arg-type]
    assert ranks.tolist() == [1 + int((scores[r] > scores[r, a - 1]).sum()) for r, a in enumerate([4, 9, 5])]
    assert isinstance(model, Recommender)


@torch.no_grad()
def test_padding_and_company_change_nothing(model: GenerativeRecommender) -> None:
    alone = model.decoder.all_log_probs(model.memory(torch.tensor([[4]])))
    wide = torch.nn.functional.pad(HISTORIES, (5, 0))
    together = model.decoder.all_log_probs(model.memory(wide))
    torch.testing.assert_close(together[1:2], alone, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_an_empty_history_is_read_as_the_prompt_alone(model: GenerativeRecommender) -> None:
    scores = model.decoder.all_log_probs(model.memory(left_pad([[], [4]])))
    expected = torch.tensor(naive_log_probs(model, []))
    torch.testing.assert_close(scores[0], expected, atol=1e-4, rtol=1e-4)


def test_one_pass_has_the_value_of_a_pass_per_prefix(llama: str, tokens: str, artifacts: Artifacts) -> None:
    decoder = make(llama, tokens)
    batch: SeqBatch = {"items": left_pad([[1, 2, 3, 4], [5, 6]]), "user": torch.tensor([1, 2])}
    once = model_of(decoder, tokens, artifacts.sequences)
    each = model_of(
        decoder, tokens, artifacts.sequences, targets=Prefixes(), objective=CodeCrossEntropy(artifacts.sequences)
    )
    for one in (once, each):
        one.eval()
    values = [one.losses(one.prepare(batch))["recommendation"] for one in (once, each)]
    torch.testing.assert_close(values[0], values[1], atol=1e-4, rtol=1e-4)
    grads = [torch.autograd.grad(value, decoder.codes.weight)[0] for value in values]
    torch.testing.assert_close(grads[0], grads[1], atol=1e-3, rtol=1e-3)


def test_masked_items_are_refused(llama: str, tokens: str, artifacts: Artifacts) -> None:
    masking = model_of(make(llama, tokens), tokens, artifacts.sequences, targets=Cloze(N_ITEMS, 0.9))
    with pytest.raises(SettingError, match="use targets=next_item"):
        masking.prepare({"items": left_pad([[1, 2, 3, 4, 5]]), "user": torch.tensor([1])})


def tasks(llama: str, tokens: str, texts: str) -> dict[str, Any]:
    shared = {"tokens": tokens, "n_items": N_ITEMS, "texts": texts, "model": llama, "count": 4, "max_words": 4}
    shared |= {"newest": 3, "offline": True}
    return {
        "text_to_code": ItemPrompt(0.1, "name0 {text} brand", "{item}", **shared),
        "code_to_text": ItemPrompt(0.1, "name0 {item} brand", "{text}", **shared),
        "texts_to_code": HistoryPrompt(0.1, "{titles} brand", "{item}", **shared),
        "state_to_text": HistoryPrompt(0.1, "{history} brand", "{text}", **shared),
        "query_to_code": HistoryPrompt(0.1, "{history} name0 {query}", "{item}", **shared),
        "code_negatives": HistoryPrompt(0.1, "{history} name0 {candidate}", "{answer}", **shared),
    }


def test_prompts_are_written_as_their_templates_say(llama: str, tokens: str, texts: str) -> None:
    task = tasks(llama, tokens, texts)["state_to_text"]
    task.name = "t"
    batch: Any = {"items": torch.tensor([[0, 1, 2, 3]]), "targets": torch.tensor([[0, 0, 0, 7]])}
    batch["labels"] = batch["targets"].flatten().nonzero()[:, 0]
    (row,) = task.draw(batch, 0)
    item, length, *ids = row.tolist()
    brand, text = task.words("brand"), task.words("name6 brand sort1 size")
    codes = [code for i in (1, 2, 3) for code in task.codes[i]]
    assert (item, length, ids) == (7, 4, [*codes, *brand, *text])
    assert all(code < PAD for code in codes)
    with pytest.raises(SettingError, match="has the slot user, wanted"):
        ItemPrompt(0.1, "{user}", "{item}", tokens=tokens, n_items=N_ITEMS, texts=texts, model=llama, offline=True)


def test_a_task_of_words_is_the_language_models_own_loss(
    llama: str, tokens: str, texts: str, artifacts: Artifacts
) -> None:
    """``code_to_text`` by transformers: labels where the text stands, -100 elsewhere."""
    decoder = make(llama, tokens)
    model = model_of(
        decoder, tokens, artifacts.sequences, terms={"t": tasks(llama, tokens, texts)["code_to_text"]}
    ).eval()
    batch = model.prepare({"items": left_pad([[1, 2, 3, 4]]), "user": torch.tensor([1])})
    draws = batch["draws"]["t"]
    ids, length = draws[:, 2:], draws[:, 1]
    labels = ids.clone()
    for row, count in enumerate(length.tolist()):
        labels[row, :-count] = -100
    result = decoder.network.model(
        inputs_embeds=decoder.embed(ids),
        attention_mask=(ids != PAD).long(),
        position_ids=((ids != PAD).cumsum(1) - 1).clamp(min=0),
        labels=labels,
    )
    torch.testing.assert_close(model.losses(batch)["t"], result.loss, atol=1e-4, rtol=1e-4)


def test_a_fit_moves_adapters_and_codes_and_nothing_frozen(
    llama: str,
    tokens: str,
    texts: str,
    artifacts: Artifacts,
    datamodule: SequenceDataModule,
    tmp_path: Path,
) -> None:
    decoder = LanguageModelDecoder(tokens, N_ITEMS, llama, WIDTH, rank=2, offline=True)
    model = model_of(decoder, tokens, artifacts.sequences, terms=tasks(llama, tokens, texts))
    frozen = {name: p.clone() for name, p in decoder.network.model.named_parameters() if not p.requires_grad}
    codes = decoder.codes.weight.detach().clone()
    run = trainer(tmp_path, max_epochs=4, limit_val_batches=0)
    run.fit(model, datamodule)
    logged = {name.rpartition("/")[2]: value for name, value in run.callback_metrics.items() if "loss/" in name}
    assert logged.keys() == model.terms.keys()
    assert all(value.isfinite() and value > 0 for value in logged.values())
    now = dict(decoder.network.model.named_parameters())
    assert all(torch.equal(now[name], value) for name, value in frozen.items())
    assert all(p.any() for name, p in now.items() if "lora_B" in name)
    assert not torch.equal(decoder.codes.weight, codes)


def test_it_learns_a_transition_that_the_sequences_hold(llama: str, tokens: str, artifacts: Artifacts) -> None:
    decoder = LanguageModelDecoder(tokens, N_ITEMS, llama, WIDTH, dropout=0.0, offline=True)
    model = model_of(decoder, tokens, artifacts.sequences).train()
    batch = model.prepare({"items": torch.tensor([[1, 2, 3, 4, 5], [4, 5, 1, 2, 3]]), "user": torch.tensor([1, 2])})
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 0.02)
    for _ in range(120):
        loss = model.losses(batch)["recommendation"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.1
    assert model.eval().recommend(torch.tensor([[1, 2, 3]]), 1, False).ids.item() == 4


def test_a_checkpoint_holds_adapters_and_codes_alone_and_knows_its_language_model(
    llama: str,
    tokens: str,
    model: GenerativeRecommender,
    artifacts: Artifacts,
    tmp_path: Path,
) -> None:
    state = model.state_dict()
    names = [name for name in state if name.startswith("decoder.network.")]
    assert all("lora_" in name or name.endswith("network.base") for name in names)
    torch.save(state, tmp_path / "weights.pt")
    again = model_of(
        LanguageModelDecoder(tokens, N_ITEMS, llama, WIDTH, rank=2, offline=True), tokens, artifacts.sequences
    )
    again.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    lists = [one.eval().recommend(HISTORIES, 4, False) for one in (model, again)]
    assert torch.equal(lists[0].ids, lists[1].ids)
    torch.testing.assert_close(lists[0].scores, lists[1].scores)
    state["decoder.network.base"] = state["decoder.network.base"].flip(0)
    with pytest.raises(SettingError, match=r"belong to another language model than decoder\.model"):
        again.load_state_dict(state)


def test_a_width_that_does_not_fit_is_named(llama: str, tokens: str) -> None:
    with pytest.raises(SettingError, match=r"is 16 wide, dim is 8; set dim=16"):
        LanguageModelDecoder(tokens, N_ITEMS, llama, 8, offline=True)


def test_frozen_weights_may_be_held_in_bfloat16(llama: str, tokens: str, artifacts: Artifacts) -> None:
    batch: Any = {"items": left_pad([[1, 2, 3, 4]]), "user": torch.tensor([1])}
    exact, rough = (
        model_of(make(llama, tokens, bf16=bf16), tokens, artifacts.sequences).eval() for bf16 in (False, True)
    )
    losses = [one.losses(one.prepare(batch))["recommendation"] for one in (exact, rough)]
    torch.testing.assert_close(losses[0], losses[1], atol=0.3, rtol=0.1)
    losses[1].backward()
    trained = {p.dtype for p in rough.parameters() if p.requires_grad}
    assert trained == {torch.float32}
    with pytest.raises(SettingError, match="in the same precision"):
        rough.load_state_dict(exact.state_dict())


def test_a_history_beyond_the_positions_is_refused(model: GenerativeRecommender) -> None:
    with pytest.raises(SettingError, match=r"the language model reads at most 64; lower data\.max_len"):
        model.recommend(torch.ones(1, 40, dtype=torch.long), 1, False)
