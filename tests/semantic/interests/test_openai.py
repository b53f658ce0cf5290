"""Against a fake service on this machine."""

import itertools

import pytest

from sage_pl.artifacts.identity import identity
from sage_pl.semantic.interests import openai
from sage_pl.semantic.interests.openai import OpenAIDescriber
from sage_pl.semantic.language_models.service import ServiceError
from tests.semantic.fake_service import CUT_OFF, KEY
from tests.semantic.interests.chat import TEXTS, describer, many, sensible


def test_one_question_per_user_with_the_texts_of_its_groups(service) -> None:
    users = [[[1, 2], [3]], [[4]]]
    found = dict(describer(service).describe(TEXTS, users))
    assert found == {0: ["likes green", "likes bike"], 1: ["likes bike"]}
    assert {(r["path"], r["key"], r["model"], r["temperature"]) for r in service.requests} == {
        ("/v1/chat/completions", f"Bearer {KEY}", "tiny", 0.0)
    }
    assert sorted(r["max_tokens"] for r in service.requests) == [32, 64]


@pytest.mark.parametrize(
    "failure",
    [
        *(pytest.param((status, b"later"), id=str(status)) for status in (408, 409, 429, 503)),
        pytest.param((200, b"{broken"), id="broken"),
        *(pytest.param(sent, id=name) for name, sent in CUT_OFF.items()),
    ],
)
def test_passing_failures_are_repeated(service, pauses, failure) -> None:
    service.failures = [failure] * 2
    assert dict(describer(service).describe(TEXTS, [[[3]]])) == {0: ["likes bike"]}
    assert len(service.requests) == 3
    wished = isinstance(failure, tuple) and failure[0] != 200
    assert pauses == ([7.0, 7.0] if wished else [1.0, 2.0])  # as long as the service asks for


@pytest.mark.parametrize(
    ("wish", "pause"), [("1e9", 60.0), ("-3", 0.0), ("nan", 0.0), ("Wed, 21 Oct 2026 07:28:00 GMT", 1.0)]
)
def test_a_service_is_left_alone_as_long_as_it_asks_but_no_longer_than_a_minute(service, pauses, wish, pause) -> None:
    service.failures, service.retry_after = [(503, b"")], wish
    list(describer(service).describe(TEXTS, [[[3]]]))
    assert pauses == [pause]


def test_an_answer_of_no_use_is_asked_for_once_more_and_then_given_up(service) -> None:
    service.answer = lambda messages: "a\nb\nc" if len(messages) == 1 else "tea\nbikes"
    assert dict(describer(service).describe(TEXTS, [[[1], [3]]])) == {0: ["tea", "bikes"]}
    assert [len(request["messages"]) for request in service.requests] == [1, 3]
    service.answer = lambda messages: "" if "bike" in sensible(messages) else "tea"
    assert dict(describer(service).describe(TEXTS, [[[3]], [[1]]])) == {0: None, 1: ["tea"]}
    assert len(service.requests) == 2 + 3


REFUSALS = [(400, b"filtered"), (413, b"too long"), (422, b"?"), {"choices": []}, {}, []]


@pytest.mark.parametrize("refusal", REFUSALS, ids=str)
@pytest.mark.parametrize("correction", [False, True])
def test_one_refused_user_costs_no_other(service, refusal, correction) -> None:
    """The refusal of a correction is one of its user as well."""

    def answer(messages: list[dict]):
        if "bike" in sensible(messages):
            return refusal if len(messages) == 3 or not correction else "a\nb"
        return sensible(messages)

    service.answer = answer
    found = dict(describer(service).describe(TEXTS, [[[3]], [[1]], [[2]]]))
    assert found == {0: None, 1: ["likes green"], 2: ["likes black"]}
    assert len(service.requests) == 3 + correction


def test_a_correction_that_fails_for_good_leaves_its_answer_as_one_of_no_use(service) -> None:
    service.answer = lambda messages: (
        (401, b"no") if len(messages) > 1 else "a\nb" if "tyre" in str(messages) else "tea"
    )
    assert dict(describer(service, concurrency=1).describe(TEXTS, [[[1]], [[4]]])) == {0: ["tea"], 1: None}


@pytest.mark.parametrize("status", [401, 402, 403, 404])
def test_what_is_refused_to_all_is_an_error_at_once(service, status) -> None:
    service.answer = lambda messages: (status, f"bad {KEY}".encode())
    with pytest.raises(
        ServiceError, match=rf"{service.url}/chat/completions refused 'tiny': {status} .*bad .*\*; check"
    ) as error:
        list(describer(service).describe(TEXTS, many(40)))
    assert KEY not in str(error.value)
    assert len(service.requests) <= 4


@pytest.mark.parametrize("answer", [*REFUSALS, "", "a\nb\nc"], ids=str)
@pytest.mark.parametrize("n", [3, 200])
def test_no_usable_answer_at_all_is_an_error(service, answer, n) -> None:
    """Nothing is handed on, so that it is asked again when the cause is gone."""
    service.answer = lambda messages: answer
    found: list = []
    whom = "3 of 3 users or a trial" if n == 3 else "the last 50 users"
    reason = {tuple: "refused 'tiny': 4", str: "is not 1 lines"}.get(type(answer), r"is it a /chat/completions service")
    with pytest.raises(ServiceError, match=rf"gave no usable answer for {whom}; .*{reason}.*describer=keywords"):
        found.extend(describer(service).describe(TEXTS, many(n)))
    assert not found
    each = 2 if isinstance(answer, str) else 1
    assert len(service.requests) <= each * (4 if n == 3 else 50 + 2 * 2)  # a trial question, or those under way


def test_a_service_that_begins_to_refuse_everybody_ends_the_run(service) -> None:
    asked = itertools.count()
    service.answer = lambda messages: sensible(messages) if next(asked) < 10 else (400, b"key expired")
    found: list = []
    with pytest.raises(ServiceError, match=r"for the last 50 users; .*key expired"):
        found.extend(describer(service, concurrency=1).describe(TEXTS, many(200)))
    assert len(found) == 10
    assert all(phrases for _, phrases in found)


def test_a_resumed_run_with_none_but_a_refused_user_completes(service) -> None:
    service.answer = lambda messages: (400, b"filtered") if "bike" in sensible(messages) else sensible(messages)
    assert list(describer(service).describe(TEXTS, [[[3]]])) == [(0, None)]
    assert [request["messages"] for request in service.requests[1:]] == [openai.prompt.question(openai.TRIAL)]


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
