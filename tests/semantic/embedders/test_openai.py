import json
import logging

import numpy as np
import polars as pl
import pytest

from sage_pl.artifacts.identity import identity
from sage_pl.semantic.embedders.openai import OpenAIEmbedder
from sage_pl.semantic.language_models.service import ServiceError
from tests.semantic.fake_service import CUT_OFF, KEY, running


def vectors(texts: list[str]) -> dict:
    rows = [{"index": i, "embedding": [len(text), 1.0]} for i, text in enumerate(texts)]
    return {"data": rows[::-1]}


@pytest.fixture
def service(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr("sage_pl.semantic.language_models.service.time.sleep", lambda seconds: None)
    with running(lambda service, body: service.answer(body["input"]), "/v1/", retry_after="0.01") as server:
        server.answer = vectors
        yield server


def test_distinct_texts_are_asked_for_once_and_come_back_in_order(service, make_artifact, out) -> None:
    texts = pl.DataFrame({"item": [1, 2, 3, 4], "text": ["four", "a", "four", "two"]})
    step = OpenAIEmbedder("tiny", service.url, batch_size=2)
    step.run({"texts": make_artifact("texts", texts=texts)}, out)
    np.testing.assert_array_equal(np.load(out / "table.npy"), [[0, 0], [4, 1], [1, 1], [4, 1], [3, 1], [0, 0]])
    assert sorted(text for request in service.requests for text in request["input"]) == ["a", "four", "two"]
    assert {(r["path"], r["key"], r["model"]) for r in service.requests} == {
        ("/v1/embeddings", f"Bearer {KEY}", "tiny")
    }


@pytest.mark.parametrize(
    "failure",
    [(429, b"slow"), (503, b""), (200, b"{broken"), *CUT_OFF.values()],
    ids=["429", "503", "broken", *CUT_OFF],
)
def test_passing_failures_are_repeated(service, failure) -> None:
    service.failures = [failure] * 2
    np.testing.assert_array_equal(OpenAIEmbedder("tiny", service.url).encode(["ab"]), [[2, 1]])
    assert len(service.requests) == 3


def test_a_lasting_failure_gives_up(service) -> None:
    service.failures = [(500, b"down")] * 9
    with pytest.raises(ServiceError, match=r"did not answer 3 requests; last problem: 500 .*down"):
        OpenAIEmbedder("tiny", service.url, max_retries=2).encode(["ab"])


@pytest.mark.parametrize("status", [400, 401])
def test_a_refusal_is_not_repeated_and_hides_the_key(service, caplog, status) -> None:
    service.failures = [(status, f"wrong key {KEY}".encode())]
    with caplog.at_level(logging.DEBUG), pytest.raises(ServiceError, match=rf"refused 'tiny': {status}") as caught:
        OpenAIEmbedder("tiny", service.url).encode(["ab"])
    assert len(service.requests) == 1
    assert KEY not in str(caught.value) + caplog.text


def test_no_service_is_an_error(service) -> None:
    with pytest.raises(ServiceError, match="did not answer 1 requests"):
        OpenAIEmbedder("tiny", "http://127.0.0.1:9", max_retries=0).encode(["ab"])


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        pytest.param({"data": []}, "without one vector per text", id="too few"),
        pytest.param({"error": "?"}, "without one vector per text", id="no data"),
        pytest.param([], "without one vector per text", id="list"),
        pytest.param({"data": [{"index": 0, "embedding": [float("nan")]}]}, "not finite", id="NaN"),
    ],
)
def test_unfit_answers_are_refused(service, answer, message) -> None:
    service.answer = lambda texts: answer
    with pytest.raises(ServiceError, match=message):
        OpenAIEmbedder("tiny", service.url).encode(["ab"])


def test_a_missing_key_is_named(monkeypatch) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    with pytest.raises(ServiceError, match="environment variable MY_KEY holds no key"):
        OpenAIEmbedder(api_key_env="MY_KEY").encode(["ab"])


def test_only_http_is_spoken() -> None:
    with pytest.raises(ValueError, match="wanted http"):
        OpenAIEmbedder(base_url="file:///etc")


def test_the_key_is_no_part_of_the_identity(service) -> None:
    assert identity(OpenAIEmbedder(api_key_env="A")) == identity(OpenAIEmbedder(api_key_env="B", max_retries=1))
    assert KEY not in json.dumps(identity(OpenAIEmbedder()))
