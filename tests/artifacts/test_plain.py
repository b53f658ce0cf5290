"""Files of others: small ones that unfold are refused at once."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from sage_pl.artifacts.plain import PlainError, check_size, read_json, read_yaml
from tests.campaign.payloads import JSONS, YAMLS


def refused_at_once(read: Any, file: Path) -> str:
    start = time.process_time()
    with pytest.raises(PlainError, match=r"is refused|cannot be read") as caught:
        read(file)
    assert time.process_time() - start < 2
    return str(caught.value)


@pytest.mark.parametrize(
    "text", [t for n, t in YAMLS.items() if n != "a list"], ids=[n for n in YAMLS if n != "a list"]
)
def test_a_yaml_bomb_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    message = refused_at_once(read_yaml, file)
    assert "\n" not in message
    assert len(message) < 500


@pytest.mark.parametrize(
    "text", [t for n, t in JSONS.items() if n != "a list"], ids=[n for n in JSONS if n != "a list"]
)
def test_a_json_bomb_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "model.json"
    file.write_text(text)
    refused_at_once(read_json, file)


def test_shared_and_deep_values_are_refused() -> None:
    shared: Any = [1]
    for _ in range(60):
        shared = [shared] * 10
    itself: Any = {}
    itself["a"] = itself
    for value in (shared, itself):
        with pytest.raises(PlainError, match="is refused"):
            check_size(value, "a file")
    check_size({"a": [1, {"b": "text"}] * 100}, "a file")


def test_files_that_this_project_writes_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: [1, {b: null}]\nc: 'x & *y'\n")
    (tmp_path / "a.json").write_text('{"a": [1.5, null]}')
    assert read_yaml(tmp_path / "a.yaml") == {"a": [1, {"b": None}], "c": "x & *y"}
    assert read_json(tmp_path / "a.json") == {"a": [1.5, None]}
