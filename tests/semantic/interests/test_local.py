"""With a randomly initialised decoder of two layers; no weights and no network are needed."""

import shutil

import pytest
import torch

from sage_pl.semantic.interests import local, prompt
from sage_pl.semantic.interests.local import LocalDescriber
from sage_pl.semantic.language_models.loading import ModelError
from tests.semantic.scft.tiny import write_llama

TEXTS = ["", "name1 brand2", "name3", "name1 brand2 size4", "sort4 size5 shade6 name7", "shade8", ""]
USERS = [[[1, 2], [3]], [[4]], [[5, 1, 2], [2], [3]]]
TEMPLATE = (
    "{% for message in messages %}{{ message['content'] }} {% endfor %}{% if add_generation_prompt %}shade1{% endif %}"
)


@pytest.fixture(scope="module")
def llama(tmp_path_factory) -> str:
    """A tiny decoder with a chat template and room for a question."""
    from transformers import AutoTokenizer

    folder = write_llama(tmp_path_factory.mktemp("local") / "tiny-llama")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    return folder


def describe(model: str, users=USERS, **settings) -> dict[int, list[str] | None]:
    return dict(LocalDescriber(model, max_tokens=4, device="cpu", offline=True, **settings).describe(TEXTS, users))


def test_every_user_gets_a_phrase_per_group(llama) -> None:
    found = describe(llama)
    assert found.keys() == {0, 1, 2}
    for row, groups in enumerate(USERS):
        phrases = found[row]
        assert phrases is None or (len(phrases) == len(groups) and all(phrases))
    assert any(found.values())
    assert describe(llama) == found


def test_neither_batches_nor_other_users_change_an_answer(llama) -> None:
    found = describe(llama, batch_tokens=100_000)
    assert describe(llama, batch_tokens=1) == found
    assert [describe(llama, [groups])[0] for groups in USERS] == [found[row] for row in range(3)]


def test_the_start_that_is_read_once_does_not_change_an_answer(llama, monkeypatch) -> None:
    """The naive form reads every prompt whole and alone."""
    rows = []
    answer = LocalDescriber._answer

    def naive(self, model, tokenizer, ids, start):
        found = answer(self, model, tokenizer, ids, start)
        for row, text in zip(ids, found, strict=True):
            assert start[0] > 5
            whole = model.generate(input_ids=torch.tensor([row]), max_new_tokens=4, do_sample=False)
            assert tokenizer.decode(whole[0, len(row) :], skip_special_tokens=True) == text
            rows.append(row)
        return found

    monkeypatch.setattr(LocalDescriber, "_answer", naive)
    describe(llama)
    assert len(rows) == 5  # distinct groups


@pytest.mark.parametrize("window", [None, 48])
def test_an_answer_of_a_model_with_a_window_does_not_depend_on_its_batch(tmp_path, window) -> None:
    """Padding behind the shared start would take places of the window, so such a model reads prompts whole."""
    from transformers import AutoTokenizer, MistralConfig, MistralForCausalLM

    folder = write_llama(tmp_path / "mistral")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = MistralConfig(
        vocab_size=len(tokenizer),
        num_key_value_heads=1,
        sliding_window=window,
        eos_token_id=tokenizer.eos_token_id,
        **sizes,
    )
    MistralForCausalLM(config).save_pretrained(folder)
    users = [[[1]], [[1, 2, 3, 4, 5] * 4], [[3, 4]], [[5, 2] * 5]]
    assert describe(folder, users, batch_tokens=1) == describe(folder, users, batch_tokens=100_000)


def test_an_interruption_loses_a_chunk_of_users(llama, monkeypatch) -> None:
    monkeypatch.setattr(local, "CHUNK", 2)
    answers = LocalDescriber(llama, max_tokens=4, device="cpu", offline=True, batch_tokens=1).describe(TEXTS, USERS)
    # by length alone user 0, who has the shortest group, would be the last
    assert [row for row, _ in answers] == [0, 1, 2]


def test_equal_groups_are_asked_about_once_and_nobody_loads_no_model(llama, monkeypatch) -> None:
    asked = []
    answer = LocalDescriber._answer
    monkeypatch.setattr(LocalDescriber, "_answer", lambda self, *args: asked.extend(args[2]) or answer(self, *args))
    found = describe(llama, [[[1, 2], [3]], [[3]], [[1, 2]], [[3], [1, 2]]])
    assert len(asked) == 2
    both = found[0]
    assert found == {0: both, 1: both[1:], 2: both[:1], 3: both[::-1]}
    assert describe("nobody/nothing", []) == {}


def test_it_is_asked_about_each_group_on_its_own(llama, monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(
        prompt, "short_question", lambda group: asked.append(group) or [{"role": "user", "content": "x"}]
    )
    describe(llama)
    assert asked == [[TEXTS[i] for i in group] for groups in USERS for group in groups]


@pytest.mark.parametrize(
    ("answers", "version", "expected"),
    [
        (["teas\nand more", "bikes", "lamps"], 1, ["teas", "bikes", "lamps"]),
        (["teas\nand more", "bikes", "lamps"], 2, ["teas", "bikes", "lamps"]),
        (["teas", "  ", "lamps"], 1, None),
        (["teas", "  ", "lamps"], 2, None),
        (["<think>\nhm\n</think>\nteas", "Sure!\nInterest: bikes", "lamps"], 1, ["<think>", "Sure!", "lamps"]),
        (["<think>\nhm\n</think>\nteas", "Sure!\nInterest: bikes", "lamps"], 2, ["teas", "bikes", "lamps"]),
        (["teas", "I'm sorry, I cannot", "lamps"], 1, ["teas", "I'm sorry, I cannot", "lamps"]),
        (["teas", "I'm sorry, I cannot", "lamps"], 2, None),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_answers_are_read_line_by_line(llama, monkeypatch, answers, version, expected) -> None:
    given = iter(answers)
    monkeypatch.setattr(
        LocalDescriber, "_answer", lambda self, model, tokenizer, rows, start: [next(given) for _ in rows]
    )
    monkeypatch.setattr(LocalDescriber, "_batches", lambda self, ids: iter([range(len(ids))]))
    assert describe(llama, [USERS[2]], prompt_version=version) == {0: expected}


def test_a_model_that_can_leave_its_thoughts_out_is_asked_to(llama) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(llama)
    tokenizer.chat_template = TEMPLATE + "{% if enable_thinking is defined and not enable_thinking %}shade2{% endif %}"
    plain, asked = (LocalDescriber(llama, prompt_version=n)._tokens(tokenizer, ["name1"]) for n in (1, 2))
    assert asked[: len(plain) - 1] == plain[:-1]
    assert len(asked) > len(plain) or asked[-1] != plain[-1]


def test_models_that_cannot_be_asked_are_named(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match=r"cannot load the language model 'nobody/nothing'.*describer=keywords"):
        describe("nobody/nothing")
    with pytest.raises(ModelError, match=r"has no chat template.*describer\.model=smollm2"):
        describe(write_llama(tmp_path / "plain"))


def test_a_model_in_a_folder_is_named_by_its_weights(llama, tmp_path) -> None:
    moved = shutil.copytree(llama, tmp_path / "moved")
    assert LocalDescriber(str(moved)).fingerprint() == LocalDescriber(llama).fingerprint()
    weights = moved / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    assert LocalDescriber(str(moved)).fingerprint() != LocalDescriber(llama).fingerprint()
