"""Two finished runs on the small world and their comparison, made once."""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from sage_pl.commands.door import open_door

ROOT = Path(__file__).parent.parent.parent
_VOID = {"wbr", "meta", "link", "br", "img", "input", "hr", "path", "rect", "circle"}
_RESOURCES = {"src", "href", "srcset", "action", "data", "poster", "xlink:href"}


@pytest.fixture(scope="session")
def runs(small_settings: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Run folders of plain and SAGE; the first writes its page itself."""
    place = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        for method, page in (("plain", "quick"), ("sage", "null")):
            own = [f"method={method}", f"report={page}", f"hydra.run.dir='{place / method}'"]
            patch.setattr(sys, "argv", [str(ROOT / "train.py"), *small_settings, *own])
            open_door("train", str(ROOT / "train.py"))
    return {method: place / method for method in ("plain", "sage")}


@pytest.fixture(scope="session")
def comparison(runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the comparison of the two."""
    from sage_pl.comparison.compare import compare_runs

    folder = tmp_path_factory.mktemp("comparison")
    config = OmegaConf.load(ROOT / "conf" / "compare.yaml")
    del config["hydra"], config["defaults"]
    given = {"runs": [str(run) for run in runs.values()], "folder": str(folder), "resamples": 100}
    compare_runs(OmegaConf.to_container(OmegaConf.merge(config, given), resolve=True))  # type: ignore[arg-type]
    return folder


class Document(HTMLParser):
    """A page as its tests see it: tags in order, ids, attributes that load something, and text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.ids: list[str] = []
        self.loads: list[str] = []
        self.problems: list[str] = []
        self.words: list[str] = []
        self._broken = False  # behind a <wbr>, which is within a word
        self._open: list[str] = []
        self.feed(text)
        self.close()
        self.problems += [f"<{tag}> is never closed" for tag in self._open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        own = {name: value or "" for name, value in attrs}
        self.tags.append((tag, own))
        self._broken = tag == "wbr"
        self.ids += [own["id"]] if "id" in own else []
        self.loads += [value for name, value in own.items() if name in _RESOURCES and not value.startswith("#")]
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag in _VOID:
            return
        if not self._open or self._open[-1] != tag:
            self.problems.append(f"</{tag}> closes {self._open[-1:]}")
        else:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        if self._broken and self.words:
            self.words[-1] += data
        else:
            self.words.append(data)
        self._broken = False

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def of(self, tag: str) -> list[dict[str, str]]:
        return [own for name, own in self.tags if name == tag]


@pytest.fixture(scope="session")
def read_page() -> type[Document]:
    return Document
