"""docs/tutorials/serve.md: every command of the page is run in its order, and each answer is checked."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sage_pl.serving import load
from tests.service.server import server

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "tutorials" / "serve.md").read_text()
pytestmark = pytest.mark.slow


def lines(heading: str) -> list[str]:
    """The commands of a section."""
    section = PAGE.partition(f"\n## {heading}")[2].partition("\n## ")[0]
    assert section, heading
    blocks = re.findall(r"^```sh\n(.*?)^```$", section, flags=re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.replace("\\\n", " ").strip().splitlines()]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_page(shell: Callable[[str], str], tmp_path: Path) -> None:
    assert re.search(r"^pip install \"sage-pl\[serve\]\"$", PAGE, flags=re.MULTILINE)
    assert "serve = [" in (ROOT / "pyproject.toml").read_text()
    shell("python docs/tutorials/purchases.py")
    frame = pl.read_csv("purchases.csv")
    for line in lines("Train and export"):
        shell(line)
    (start,) = lines("Start the server")
    with server(tmp_path / "log", *shlex.split(start)[1:]) as served:

        def curl(line: str) -> Any:
            program, *arguments = shlex.split(line.replace("127.0.0.1:8000", f"127.0.0.1:{served.port}"))
            assert program == "curl"
            done = subprocess.run(["curl", "-s", *arguments], capture_output=True, text=True, check=True, timeout=60)
            return json.loads(done.stdout)

        assert f"{len(frame)} of {len(frame)} events were new" in served.log.read_text()
        user, history, several, similar, unknown = lines("Ask")
        model = load("served")
        of_ana = frame.filter(customer="ana").sort("time")["sku"].to_list()
        assert items(curl(user)) == [item.id for item in model.recommend(of_ana, 5)]
        assert items(curl(history)) == [item.id for item in model.recommend(["TEA-03", "TEA-05"], 5)]
        assert all(
            "TEA-03" not in items(curl(several), place) and len(items(curl(several), place)) == 3 for place in (0, 1)
        )
        assert len(curl(similar)["items"]) == 3
        (refusal,) = re.findall(r"^```json\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)
        assert curl(unknown) == json.loads(refusal)

        events, zoe, new, near = lines("Purchases and new items")
        assert curl(events) == {"added": 2, "known": 0, "unknown_items": []}
        assert items(curl(zoe)) == [item.id for item in model.recommend(["BIKE-01"], 5)]
        assert items(curl(user)) == [item.id for item in model.recommend([*of_ana, "LAMP-02"], 5)]
        assert curl(new) == {"added": 1, "items": 29}
        assert all("green tea leaf" in item["title"] for item in curl(near)["items"])

        export, *moves, health = lines("A newer model")
        shell(export)
        Path("newer/manifest.json").write_text(
            Path("newer/manifest.json").read_text() + " "
        )  # else it is the same export
        before = curl(health)
        for line in moves:
            subprocess.run(shlex.split(line), check=True)
        deadline = time.monotonic() + 30
        while curl(health)["model"] == before["model"] and time.monotonic() < deadline:
            time.sleep(0.1)
        assert curl(health) == {**before, "model": curl(health)["model"]}
        assert curl(health)["model"] != before["model"]
        assert len(curl(near)["items"]) == 3, "the new item is there"
        assert served.stop() in (0, -15)

    (explore,) = lines("Look at it")
    with server(tmp_path / "log2", *shlex.split(explore)[1:], "--no-browser", "--map", "pca") as page:
        import httpx2

        assert httpx2.get(f"{page.url}/api/about").json()["items"] == 28


def items(answer: Any, place: int = 0) -> list[str]:
    return [item["id"] for item in answer["lists"][place]["items"]]


def test_the_dockerfile_starts_what_the_command_takes() -> None:
    from sage_pl.commands.serve import parser

    (line,) = re.findall(r"^ENTRYPOINT (.*)$", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    program, command, *arguments = json.loads(line)
    assert (program, command) == ("sage-pl", "serve")
    options = parser().parse_args(arguments)
    assert (options.folder, options.host, options.store) == ("/model", "0.0.0.0", "/state/events.db")
