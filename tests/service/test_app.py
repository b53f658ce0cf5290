"""Every endpoint in this process: its answer, and its refusal in one sentence."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sage_pl.data.mapped import digest
from sage_pl.serving import Histories, Origin, load, refresh
from tests.service.conftest import HISTORY, TEA

Client = Callable[..., Any]


def ids(answer: Any) -> list[str]:
    return ids_of(answer.json())


def ids_of(answer: Any) -> list[str]:
    return [item["id"] for item in answer["lists"][0]["items"]]


def test_a_history_is_answered_as_the_exported_folder_answers(client: Client, folder: Path) -> None:
    served, model = client(), load(folder)
    answer = served.post("/recommend", json={"histories": [HISTORY, [], ["3"]], "k": 6}).json()
    for items, history in zip(answer["lists"], [HISTORY, [], ["3"]], strict=True):
        expected = model.recommend(history, 6)
        assert [(item["id"], item["title"]) for item in items["items"]] == [(one.id, one.title) for one in expected]
        assert [item["score"] for item in items["items"]] == pytest.approx([one.score for one in expected], rel=1e-5)
        assert items["source"] == "live"
    among = {"history": HISTORY, "candidates": ["0", "4", "5", "6"], "exclude": ["6"], "seen": "keep"}
    assert ids(served.post("/recommend", json=among)) == [
        item.id for item in model.recommend(HISTORY, candidates=among["candidates"], exclude=["6"], seen="keep")
    ]


def test_events_make_a_users_history(client: Client) -> None:
    served = client()
    refusal = served.post("/recommend", json={"user": "new"})
    assert (refusal.status_code, refusal.json()["detail"].count(". ")) == (404, 0)
    assert "no events of user 'new' are known" in refusal.json()["detail"]
    events = [{"user_id": "new", "item_id": item, "timestamp": 10.0 - place} for place, item in enumerate(HISTORY)]
    events.append({"user_id": "new", "item_id": "coming", "timestamp": 11.0})
    assert served.post("/events", json={"events": events}).json() == {
        "added": 4, "known": 0, "unknown_items": ["coming"],
    }  # fmt: skip
    assert served.post("/events", json={"events": events}).json()["known"] == 4, "sent twice, counted once"
    by_user = ids(served.post("/recommend", json={"user": "new", "k": 7}))
    assert by_user == ids(served.post("/recommend", json={"history": HISTORY[::-1], "k": 7})), "in the order of time"
    assert served.get("/health").json()["users"] == 1
    restarted = client()
    assert ids(restarted.post("/recommend", json={"user": "new", "k": 7})) == by_user, "events outlive the process"


def test_an_item_is_added_by_its_text_and_seen_by_the_other_process(client: Client) -> None:
    first, second = client(), client(follow=60.0)
    item = {"item_id": "900", "title": TEA}
    assert first.post("/items", json={"items": [item]}).json() == {"added": 1, "items": 41}
    for served in (first, second):
        answer = served.post("/recommend", json={"history": ["900"], "k": 41, "seen": "keep"})
        assert "900" in ids(answer), answer.json()
    near = second.post("/similar", json={"items": ["900"], "k": 40}).json()["items"]
    assert len(near) == 40
    assert near[0]["title"].startswith("green leaf tea")
    again = second.post("/items", json={"items": [item]})
    assert (again.status_code, again.json()["detail"]) == (409, "item '900' is known already; leave it out")
    textless = first.post("/items", json={"items": [{"item_id": "901", "title": " "}]})
    assert textless.status_code == 422
    assert "'901' has no text in title" in textless.json()["detail"]
    assert first.get("/health").json()["items"] == 41, "all or none"


def test_a_new_export_is_read_anew_with_the_added_items(client: Client, folder: Path, exports: list[Path]) -> None:
    served = client()
    served.post("/items", json={"items": [{"item_id": "900", "title": TEA}]})
    before = served.post("/recommend", json={"history": HISTORY, "k": 10}).json()
    folder.rename(folder.with_name("old"))
    assert served.post("/recommend", json={"history": HISTORY, "k": 10}).json() == before, "while there is no folder"
    shutil.copytree(exports[1], folder.with_name("new"))
    folder.with_name("new").rename(folder)
    deadline = time.monotonic() + 20
    while served.get("/health").json()["model"] == before["model"] and time.monotonic() < deadline:
        time.sleep(0.05)
    after = served.post("/recommend", json={"history": [*HISTORY, "900"], "k": 10}).json()
    assert after["model"] != before["model"]
    assert ids_of(after) != ids_of(before)
    assert served.get("/health").json()["items"] == 41

    (folder / "weights.pt").write_bytes(b"no weights")
    (folder / "manifest.json").write_text((folder / "manifest.json").read_text() + " ")
    while served.get("/health").json()["status"] == "ok" and time.monotonic() < deadline:
        time.sleep(0.05)
    assert "the new export is not used" in served.get("/health").json()["problem"]
    assert served.post("/recommend", json={"history": [*HISTORY, "900"], "k": 10}).json() == after
    assert "sage_pl_reloads_total 1.0" in served.get("/metrics").text


def test_a_kept_list_answers_while_it_is_of_the_present_history(client: Client, folder: Path, tmp_path: Path) -> None:
    model, file = load(folder), tmp_path / "x.top_k"
    numbers = model.catalogue.numbers
    origin = Origin(model.model.stored, model.catalogue.seen == "mask", digest(model.catalogue.ids[1:]))  # type: ignore[attr-defined]

    def keep(*histories: list[str]) -> None:
        rows = [[numbers[item] for item in history] for history in histories]
        refresh(file, Histories.of_lists([f"u{row}" for row in range(len(rows))], rows), origin, model.model, 8)

    def ask(**more: Any) -> tuple[str, list[str]]:
        answer = served.post("/recommend", json={"user": "u0", "k": 5, **more})
        return answer.json()["lists"][0]["source"], ids(answer)

    keep(HISTORY, ["3"])
    served = client(lists=str(file))
    served.post("/events", json={"events": [{"user_id": "u0", "item_id": item} for item in HISTORY]})
    expected = [item.id for item in model.recommend(HISTORY, 8)]
    assert ask() == ("lists", expected[:5])
    assert ask(k=9)[0] == ask(exclude=["1"])[0] == ask(seen="mask")[0] == "live", "what the list was not made for"
    served.post("/events", json={"events": [{"user_id": "u0", "item_id": "5"}]})
    assert ask() == ("live", [item.id for item in model.recommend([*HISTORY, "5"], 5)])
    keep([*HISTORY, "5"], ["3"])
    deadline = time.monotonic() + 10
    while ask()[0] != "lists" and time.monotonic() < deadline:
        time.sleep(0.05)
    assert ask() == ("lists", [item.id for item in model.recommend([*HISTORY, "5"], 5)]), "the new file is read"
    file.write_bytes(b"no lists")
    while served.get("/health").json()["status"] == "ok" and time.monotonic() < deadline:
        time.sleep(0.05)
    assert "the kept lists are not used" in served.get("/health").json()["problem"]
    assert ask()[0] == "live"


BAD = {
    "no user and no history": ({}, 422, "wanted one of user, users, history and histories"),
    "both": ({"user": "a", "history": []}, 422, "wanted one of"),
    "an unknown item": ({"history": ["x"]}, 422, "the model has no item 'x' among its 40"),
    "a number for an id": ({"history": [5]}, 422, "history.0"),
    "k of 0": ({"history": [], "k": 0}, 422, "k: "),
    "k too large": ({"history": [], "k": 51}, 422, "k is 51, wanted at most 50"),
    "a name that does not exist": ({"history": [], "top": 5}, 422, "top: "),
    "a control character": ({"user": "a\nb"}, 422, "user: "),
    "too many items": ({"histories": [[]] * 65, "k": 25}, 422, "65 lists of 25 items are more than 1,600 items"),
    "nothing left": ({"history": [], "candidates": ["1"], "exclude": ["1"]}, 422, "leave no item"),
}  # fmt: skip


def test_bad_input_is_one_sentence(client: Client) -> None:
    served = client(max_k=50, max_body=2000, token="secret", hosts=("testserver",))
    key = {"Authorization": "bearer  secret"}  # a scheme has no case
    for name, (body, status, reason) in BAD.items():
        answer = served.post("/recommend", json=body, headers=key)
        assert (answer.status_code, reason in answer.json()["detail"]) == (status, True), (name, answer.text)
        assert "\n" not in answer.json()["detail"]
    typed = {"content-type": "application/json", **key}
    for body, headers, status in (
        (b"{", typed, 422),
        (b"[" * 1900, typed, 422),
        (b'{"user": "\\ud800"}', typed, 422),
        (b'{"history": [], "k": NaN}', typed, 422),
        (b" " * 2001, typed, 413),
        (b"{}", {"content-type": "text/plain", **key}, 415),
        (b"{}", {"content-type": "application/json", "Authorization": "Bearer other"}, 401),
        (b"{}", {"content-type": "application/json"}, 401),
    ):
        answer = served.post("/recommend", content=body, headers=headers)
        assert answer.status_code in (status, 400), (body[:30], answer.text)
        assert answer.json()["detail"]
    assert served.get("/recommend", headers=key).status_code == 405
    assert served.get("/nowhere", headers=key).json()["detail"].startswith("there is no such path")
    assert served.get("/health", headers={"Host": "evil.example"}).status_code == 400
    assert served.get("/health").status_code == 200
    assert served.get("/metrics").status_code == 401
    assert 'sage_pl_requests_total{path="/recommend",status="413"} 1.0' in served.get("/metrics", headers=key).text


def test_the_page_describes_every_endpoint_and_loads_nothing(client: Client) -> None:
    served = client()
    answer = served.get("/")
    for path in served.get("/openapi.json").json()["paths"]:
        assert f" {path}</code>" in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "src=" not in answer.text
