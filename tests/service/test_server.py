"""A real server with two processes: no request is lost over additions, a reload and the stop; and no body ends it."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.service.conftest import HISTORY, TEA
from tests.service.server import server

pytestmark = pytest.mark.slow


def test_two_processes_lose_no_request(folder: Path, exports: list[Path], tmp_path: Path) -> None:
    import httpx2

    lines = "".join(f"u{user},{item}\n" for user in range(9) for item in HISTORY)
    (tmp_path / "events.csv").write_text("user_id,item_id\n" + lines)
    options = ["--workers", "2", "--events", str(tmp_path / "events.csv"), "--timeout", "20"]
    with server(tmp_path / "log", "serve", str(folder), *options) as served:
        versions, failures, ended = set(), [], threading.Event()

        def ask(number: int) -> None:
            with httpx2.Client(base_url=served.url, timeout=30) as client:
                while not ended.is_set():
                    body = {"user": f"u{number}", "k": 5}
                    answer = client.post("/recommend", json=body)
                    versions.add(answer.json().get("model"))
                    if answer.status_code != 200 or len(answer.json()["lists"][0]["items"]) != 5:
                        failures.append(answer.text)

        clients = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
        for one in clients:
            one.start()
        added = httpx2.post(f"{served.url}/items", json={"items": [{"item_id": "900", "title": TEA}]}, timeout=30)
        assert added.status_code == 200, added.text
        for _ in range(6):  # both processes
            answer = httpx2.post(f"{served.url}/recommend", json={"history": ["900"]}, timeout=30)
            assert answer.status_code == 200, answer.text
        shutil.copytree(exports[1], tmp_path / "new")
        folder.rename(tmp_path / "old")
        (tmp_path / "new").rename(folder)
        deadline = time.monotonic() + 60
        while len(versions) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        metrics = ""
        while "sage_pl_reloads_total 2.0" not in metrics and time.monotonic() < deadline:
            time.sleep(0.1)
            metrics = httpx2.get(f"{served.url}/metrics", timeout=30).text
        ended.set()
        for one in clients:
            one.join()
        assert not failures, failures[:3]
        assert len(versions) == 2
        assert "sage_pl_reloads_total 2.0" in metrics, "each process"
        assert served.stop() == 0, served.log.read_text()


def test_a_request_that_has_begun_is_answered_at_the_stop(folder: Path, tmp_path: Path) -> None:
    body = json.dumps({"history": HISTORY, "k": 5}).encode()
    lines = [
        "POST /recommend HTTP/1.1",
        "Host: localhost",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    head = "\r\n".join([*lines, "", ""])
    with server(tmp_path / "log", "serve", str(folder)) as served:
        with socket.create_connection(("127.0.0.1", served.port), timeout=30) as connection:
            connection.sendall(head.encode() + body[:10])
            time.sleep(0.5)
            served.process.terminate()
            time.sleep(0.5)
            connection.sendall(body[10:])
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 200"), answer
        assert answer.count(b'"id"') == 5
        assert served.process.wait(60) in (0, -signal.SIGTERM), served.log.read_text()


def test_a_mistake_is_one_line(tmp_path: Path) -> None:
    def said(*arguments: str) -> str:
        done = subprocess.run([sys.executable, "-m", "sage_pl", "serve", *arguments], capture_output=True, text=True)
        assert done.returncode != 0
        return done.stderr.strip().splitlines()[-1]

    assert "has no model.json; write it with" in said(str(tmp_path))
    (tmp_path / "text.db").write_text("no store" * 100)
    assert "cannot be used as the store of events" in said(str(tmp_path), "--store", str(tmp_path / "text.db"))


def test_no_body_makes_an_error_of_the_server(client: Callable[..., Any]) -> None:
    """Bodies of every endpoint that fit its schema, that nearly do, and of any form: no status of 500 or more."""
    schemathesis = pytest.importorskip("schemathesis", reason="the package schemathesis is not installed")
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st

    served = client(max_body=20_000, timeout=20.0)
    schema = schemathesis.openapi.from_dict(served.get("/openapi.json").json())
    quick = settings(deadline=None, suppress_health_check=list(HealthCheck), database=None)
    statuses: Counter[int] = Counter()

    def check(path: str, **request: Any) -> None:
        answer = served.post(path, headers={"content-type": "application/json"}, **request)
        statuses[answer.status_code] += 1
        assert answer.status_code < 500, (path, request, answer.text)
        if answer.status_code >= 400:
            assert isinstance(answer.json()["detail"], str)

    junk = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    )

    def hammer(path: str) -> None:
        for mode in ("POSITIVE", "NEGATIVE"):
            strategy = schema[path]["POST"].as_strategy(generation_mode=schemathesis.GenerationMode[mode])

            @settings(quick, max_examples=120)
            @given(case=strategy)
            def by_schema(case: Any) -> None:
                check(path, content=json.dumps(case.body, default=str).encode())

            by_schema()

        @settings(quick, max_examples=60)
        @given(body=junk.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=300))
        def of_any_form(body: bytes) -> None:
            check(path, content=body)

        of_any_form()

    for path in ("/recommend", "/similar", "/items", "/events"):
        hammer(path)
    known = st.sampled_from([*map(str, range(40)), "900", "x"])

    @settings(quick, max_examples=200)
    @given(history=st.lists(known, max_size=30), k=st.integers(1, 1000), seen=st.sampled_from(["mask", "keep", None]))
    def with_items(history: list[str], k: int, seen: str | None) -> None:
        check("/recommend", json={"history": history, "k": k, "seen": seen, "exclude": history[:3]})

    with_items()
    assert statuses.total() >= 1000
    assert {200, 422} <= set(statuses)
    assert served.get("/health").json()["status"] == "ok"
