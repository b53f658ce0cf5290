"""Against a fake service on this machine."""

import numpy as np
import polars as pl
import pytest

from sage_pl.artifacts import identity
from sage_pl.semantic.interests.keywords import Keywords
from sage_pl.semantic.interests.openai import OpenAIDescriber
from sage_pl.semantic.interests.phrases import Phrases
from sage_pl.semantic.service import ServiceError
from tests.semantic.fake_service import KEY, Service, running

TEXTS = ["", "green tea", "black tea", "bike chain", "bike tyre", ""]


def sensible(messages: list[dict]) -> str:
    """One line per group: the first word of its first item."""
    lines = messages[0]["content"].splitlines()
    return "\n".join(f"likes {lines[i + 1][2:].split()[0]}" for i, line in enumerate(lines) if line.startswith("Group"))


def described(service: Service, body: dict) -> dict:
    return {"choices": [{"message": {"content": service.answer(body["messages"])}}]}


@pytest.fixture
def pauses(monkeypatch) -> list[float]:
    waited: list[float] = []
    monkeypatch.setattr("sage_pl.semantic.service.time.sleep", waited.append)
    return waited


@pytest.fixture
def service(monkeypatch, pauses):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with running(described, "/v1", retry_after="7") as server:
        server.answer = sensible
        yield server


def describer(service: Service, **settings) -> OpenAIDescriber:
    return OpenAIDescriber("tiny", service.url, **{"concurrency": 2, **settings})


def test_one_question_per_user_with_the_texts_of_its_groups(service) -> None:
    users = [[[1, 2], [3]], [[4]]]
    found = dict(describer(service).describe(TEXTS, users))
    assert found == {0: ["likes green", "likes bike"], 1: ["likes bike"]}
    assert {(r["path"], r["key"], r["model"], r["temperature"]) for r in service.requests} == {
        ("/v1/chat/completions", f"Bearer {KEY}", "tiny", 0.0)
    }
    assert sorted(r["max_tokens"] for r in service.requests) == [32, 64]


@pytest.mark.parametrize("failure", [(429, b"slow"), (503, b""), (200, b"{broken")], ids=["429", "503", "broken"])
def test_passing_failures_are_repeated(service, pauses, failure) -> None:
    service.failures = [failure] * 2
    assert dict(describer(service).describe(TEXTS, [[[3]]])) == {0: ["likes bike"]}
    assert len(service.requests) == 3
    assert pauses == ([1.0, 2.0] if failure[0] == 200 else [7.0, 7.0])  # as long as the service asks for


def test_an_answer_of_no_use_is_asked_for_once_more_and_then_given_up(service) -> None:
    service.answer = lambda messages: "a\nb\nc" if len(messages) == 1 else "tea\nbikes"
    assert dict(describer(service).describe(TEXTS, [[[1], [3]]])) == {0: ["tea", "bikes"]}
    assert [len(request["messages"]) for request in service.requests] == [1, 3]
    service.answer = lambda messages: ""
    assert dict(describer(service).describe(TEXTS, [[[1], [3]]])) == {0: None}
    assert len(service.requests) == 4


@pytest.mark.parametrize("content", [b"{}", b'{"choices": []}', b"[]"])
def test_another_kind_of_service_is_named(service, content) -> None:
    service.failures = [(200, content)]
    with pytest.raises(ServiceError, match="is it a /chat/completions service"):
        dict(describer(service).describe(TEXTS, [[[1]]]))


def many(n: int) -> list[list[list[int]]]:
    """Users without two alike."""
    return [[[1 + (i >> bit & 1) + 2 * (bit % 2) for bit in range(10)]] for i in range(n)]


def test_what_was_answered_before_a_failure_is_handed_on(service) -> None:
    service.lives = 5
    found = []
    with pytest.raises(ServiceError, match=r"refused 'tiny': 401 .*out of credit"):
        found.extend(describer(service).describe(TEXTS, many(40)))
    assert len(found) == 5
    assert len(service.requests) < 40  # the rest was not asked any more


@pytest.fixture
def step_inputs(make_sequences, make_artifact):
    users = [groups[0] for groups in many(30)]
    sequences = make_sequences([[*dict.fromkeys(user), *(4, 4, 4)] for user in users], n_items=4)
    flat = [item for user in users for item in dict.fromkeys(user)]
    sizes = [0, *(len(dict.fromkeys(user)) for user in users)]
    groups = {"items": flat, "labels": [0] * len(flat), "offsets": [0, *np.cumsum(sizes)]}
    texts = pl.DataFrame({"item": [1, 2, 3, 4], "text": TEXTS[1:5]})
    return {
        "sequences": sequences,
        "texts": make_artifact("texts", texts=texts),
        "groups": make_artifact("groups", **groups),
    }


def test_a_killed_run_goes_on_without_paying_twice(service, step_inputs, out) -> None:
    """Two runs together ask about each distinct history once, whatever ended the first."""
    step = Phrases(describer(service, concurrency=1), Keywords(min_count=1))
    service.lives = 3
    with pytest.raises(ServiceError):
        step.run(step_inputs, out)
    assert not list(out.iterdir())
    paid = [request["messages"][0]["content"] for request in service.requests][:3]
    service.lives, service.requests[:] = 1000, []
    step.run(step_inputs, out)
    asked = [request["messages"][0]["content"] for request in service.requests]
    assert asked
    assert len({*asked}) == len(asked)  # users of one history share a question
    assert not {*asked} & {*paid}
    phrases = pl.read_parquet(out / "phrases.parquet")
    assert phrases["user"].to_list() == list(range(1, 31))
    assert set(phrases["by"]) == {"OpenAIDescriber"}
    service.requests[:] = []
    step.run(step_inputs, out)
    assert not service.requests


def test_answers_of_no_use_are_not_paid_again_either(service, step_inputs, out) -> None:
    service.answer = lambda messages: ""
    step = Phrases(describer(service), Keywords(min_count=1))
    step.run(step_inputs, out)
    assert set(pl.read_parquet(out / "phrases.parquet")["by"]) == {"Keywords"}
    service.requests[:] = []
    step.run(step_inputs, out)
    assert not service.requests
    with pytest.raises(ValueError, match=r"OpenAIDescriber gave no usable answer for 30 of 30 users"):
        Phrases(describer(service), None).run(step_inputs, out)


def test_the_key_is_needed_and_no_part_of_the_identity(service, monkeypatch) -> None:
    assert identity(describer(service, api_key_env="A")) == identity(describer(service, max_retries=1, concurrency=3))
    assert identity(describer(service)) != identity(describer(service, temperature=0.3))
    assert identity(describer(service))["prompt_version"] >= 1
    monkeypatch.delenv("MY_KEY", raising=False)
    with pytest.raises(ServiceError, match=r"environment variable MY_KEY holds no key .* describer=keywords"):
        dict(describer(service, api_key_env="MY_KEY").describe(TEXTS, [[[1]]]))


@pytest.mark.parametrize("wrong", [{"base_url": "file:///etc"}, {"concurrency": 0}])
def test_impossible_settings_are_refused(wrong) -> None:
    with pytest.raises(ValueError, match=r"wanted http://.* and at least 1"):
        OpenAIDescriber("tiny", **wrong)
