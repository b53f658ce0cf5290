"""Runs against a fake service that end in the middle, and those that go on."""

import itertools
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import polars as pl
import pytest

from sage_pl.artifacts.store import Artifact
from sage_pl.semantic.interests import prompt
from sage_pl.semantic.interests.keywords import Keywords
from sage_pl.semantic.interests.phrases import Phrases
from sage_pl.semantic.language_models.service import ServiceError
from tests.semantic.fake_service import Service
from tests.semantic.interests.chat import TEXTS, describer, sensible

RUN = """
import signal, sys
from pathlib import Path
from sage_pl.artifacts.store import Artifact
from sage_pl.semantic.interests.openai import OpenAIDescriber
from sage_pl.semantic.interests.phrases import Phrases

signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may ignore it
url, out, *folders = sys.argv[1:]
inputs = {Path(folder).name: Artifact.at(folder) for folder in folders}
Phrases(OpenAIDescriber("tiny", url, concurrency=4)).run(inputs, Path(out))
"""


@pytest.fixture
def step_inputs(make_sequences, make_artifact) -> dict[str, Artifact]:
    """24 histories, six of them of two users."""
    orders = list(itertools.permutations([1, 2, 3, 4]))
    users = [*orders, *orders[:6]]
    flat = [item for user in users for item in user]
    groups = {"items": flat, "labels": [0] * len(flat), "offsets": [0, *range(0, len(flat) + 1, 4)]}
    texts = pl.DataFrame({"item": [1, 2, 3, 4], "text": TEXTS[1:5]})
    return {
        "sequences": make_sequences([[*user, 4, 4, 4] for user in users], n_items=4),
        "texts": make_artifact("texts", texts=texts),
        "groups": make_artifact("groups", **groups),
    }


def remembered(out: Path) -> int:
    file = out.parent / "answers.sqlite"
    if not file.exists():
        return 0
    with closing(sqlite3.connect(file, timeout=60)) as connection:
        return connection.execute("SELECT count(*) FROM answers").fetchone()[0]


def by_signal(kind: signal.Signals, times: int = 1) -> Callable[[Service, dict[str, Artifact], Path], int]:
    """Ends a process while six answers are remembered and four questions are under way; gives the answers that it got.

    After one Ctrl-C the four are answered; a second does not wait for them.
    """

    def end(service: Service, inputs: dict[str, Artifact], out: Path) -> int:
        asked, under_way, go_on = itertools.count(), threading.Semaphore(0), threading.Event()

        def answer(messages: list[dict]) -> str:
            if next(asked) >= 6:
                under_way.release()
                assert go_on.wait(60)
            return sensible(messages)

        service.answer = answer
        folders = [str(artifact.path) for artifact in inputs.values()]
        command = [sys.executable, "-c", RUN, service.url, str(out), *folders]
        with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
            try:
                assert all(under_way.acquire(timeout=60) for _ in range(4))
                while remembered(out) < 6:
                    assert process.poll() is None
                    time.sleep(0.01)
                process.send_signal(kind)
                if kind == signal.SIGINT:
                    assert b"interrupted" in process.stderr.readline()
                    process.send_signal(kind) if times == 2 else go_on.set()
                assert process.wait(timeout=20) == -kind
            finally:
                process.kill()
                go_on.set()
        assert len(service.requests) == 10
        return 10 if kind == signal.SIGINT and times == 1 else 6

    return end


def by_refusal(service: Service, inputs: dict[str, Artifact], out: Path) -> int:
    service.lives = 10
    with pytest.raises(ServiceError, match=r"refused 'tiny': 401 .*out of credit"):
        Phrases(describer(service, concurrency=4)).run(inputs, out)
    assert len(service.requests) <= 10 + 4
    return 10


def by_crash(service: Service, inputs: dict[str, Artifact], out: Path) -> int:
    """An error nobody thought of, about one answer; three others are under way."""
    asked, all_four = itertools.count(), threading.Barrier(4)
    read = prompt.phrases

    def answer(messages: list[dict]) -> str:
        if next(asked) < 4:
            all_four.wait(60)
        return sensible(messages)

    def phrases(answer: str, n_groups: int, version: int) -> list[str] | None:
        if next(read_so_far) == 0:
            raise MemoryError
        return read(answer, n_groups, version)

    service.answer, read_so_far = answer, itertools.count()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prompt, "phrases", phrases)
        with pytest.raises(MemoryError):
            Phrases(describer(service, concurrency=4)).run(inputs, out)
    assert len(service.requests) < 24
    return len(service.requests) - 1


@pytest.mark.parametrize(
    "end",
    [
        pytest.param(by_signal(signal.SIGKILL), id="kill"),
        pytest.param(by_signal(signal.SIGINT), id="Ctrl-C"),
        pytest.param(by_signal(signal.SIGINT, times=2), id="Ctrl-C twice"),
        pytest.param(by_refusal, id="out of credit"),
        pytest.param(by_crash, id="crash"),
    ],
)
def test_an_ended_run_goes_on_without_paying_twice(service, step_inputs, out, end) -> None:
    """What was answered is not asked again, whatever ended the first run, with several questions under way."""
    answered = end(service, step_inputs, out)
    assert remembered(out) == answered
    assert not list(out.iterdir())
    before = {request["messages"][0]["content"] for request in service.requests}
    service.answer, service.lives, service.requests[:] = sensible, 1000, []
    step = Phrases(describer(service), Keywords(min_count=1))
    step.run(step_inputs, out)
    after = [request["messages"][0]["content"] for request in service.requests]
    assert len({*after}) == len(after) == 24 - answered  # users of one history share a question
    assert len(before | {*after}) == 24
    phrases = pl.read_parquet(out / "phrases.parquet")
    assert phrases["user"].to_list() == list(range(1, 31))
    assert set(phrases["by"]) == {"OpenAIDescriber"}
    service.requests[:] = []
    step.run(step_inputs, out)
    assert not service.requests


@pytest.mark.parametrize("useless", ["", (400, b"filtered"), {"choices": []}], ids=["empty", "refused", "no choice"])
def test_answers_of_no_use_are_not_asked_for_again(service, step_inputs, out, caplog, useless) -> None:
    service.answer = lambda messages: useless if "bike" in sensible(messages) else sensible(messages)
    Phrases(describer(service), Keywords(min_count=1)).run(step_inputs, out)
    assert "no usable answer for 12 of 30 users; Keywords describes them" in caplog.text
    by = pl.read_parquet(out / "phrases.parquet")["by"].value_counts()
    assert dict(by.iter_rows()) == {"OpenAIDescriber": 18, "Keywords": 12}
    service.requests[:] = []
    Phrases(describer(service), Keywords(min_count=1)).run(step_inputs, out)
    assert not service.requests
    with pytest.raises(ValueError, match=r"OpenAIDescriber gave no usable answer for 12 of 30 users"):
        Phrases(describer(service), None).run(step_inputs, out)


def test_refusals_of_everybody_are_no_keywords_for_all(service, step_inputs, out) -> None:
    """An error, and all of it asked again when the service has been set right."""
    service.answer = lambda messages: (400, b"temperature is not supported")
    step = Phrases(describer(service), Keywords(min_count=1))
    with pytest.raises(ServiceError, match=r"for 24 of 24 users or a trial; .* 400 .*temperature is not supported"):
        step.run(step_inputs, out)
    assert remembered(out) == 0
    service.answer = sensible
    step.run(step_inputs, out)
    assert set(pl.read_parquet(out / "phrases.parquet")["by"]) == {"OpenAIDescriber"}
