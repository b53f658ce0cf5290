"""A Sphinx extension: pages made from ``conf/``, the modules and the notebooks, links out of this folder, and ``llms.txt``."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
CONF, PACKAGE = ROOT / "conf", ROOT / "src" / "sage_pl"
_LEADS_OUT = re.compile(r"\]\((?:\.\./)+(src/sage_pl|conf|README\.md)(?:/([\w/.-]+))?(?:#[\w-]*)?\)")
_NOTEBOOK = re.compile(r"\]\(notebooks/(\w+)\.py\)")
_CELL = re.compile(r"^# %%(?: \[(markdown)\])?\n", re.MULTILINE)
_FIRST_LINE = re.compile(r"^# (.*)$", re.MULTILINE)


def setup(app: Any) -> dict[str, bool]:
    app.connect("builder-inited", write_reference)
    app.connect("source-read", lead_to_reference)
    app.connect("build-finished", write_llms)
    return {"parallel_read_safe": True}


def write_reference(app: Any) -> None:
    """``reference/conf/``: a page for each group and command; ``reference/api/``: for each module; ``notebooks/pages/``."""
    place = Path(app.srcdir)
    for name in ("reference/conf", "reference/api", "notebooks/pages"):
        shutil.rmtree(place / name, ignore_errors=True)
        (place / name).mkdir(parents=True)
    for name, text in {**conf_pages(), **api_pages()}.items():
        (place / "reference" / name).write_text(text)
    for file in sorted((place / "notebooks").glob("*.py")):
        (place / "notebooks" / "pages" / f"{file.stem}.md").write_text(notebook_page(file.read_text()))


def notebook_page(text: str) -> str:
    """A notebook of jupytext's percent format as Markdown: its prose, and its code in blocks.

    >>> notebook_page("# %% [markdown]\\n# # Title\\n# %%\\nprint(1)\\n")
    '# Title\\n\\n```python\\nprint(1)\\n```\\n'
    """
    _, *cells = _CELL.split(text)
    parts = []
    for kind, cell in zip(cells[::2], cells[1::2], strict=True):
        lines = cell.strip().split("\n")
        prose = "\n".join(line.removeprefix("#").removeprefix(" ") for line in lines)
        parts.append(prose if kind else "\n".join(["```python", *lines, "```"]))
    return "\n\n".join(parts) + "\n"


def conf_pages() -> dict[str, str]:
    """Every file of ``conf/`` with its keys, defaults and comments, by the name of its page."""
    commands = sorted(CONF.glob("*.yaml"))
    groups = sorted({file.parent for file in CONF.rglob("*.yaml")} - {CONF, CONF / "local"})
    pages = {"conf/commands.md": _page("Commands", commands, CONF)}
    for group in groups:
        name = group.relative_to(CONF).as_posix()
        pages[f"conf/{name.replace('/', '-')}.md"] = _page(f"`{name}`", sorted(group.glob("*.yaml")), group)
    return pages


def _page(title: str, files: list[Path], folder: Path) -> str:
    parts = [f"# {title}", f"Choices: {', '.join(f'`{file.stem}`' for file in files)}."]
    for file in files:
        parts.append(f"## {file.stem}\n\n```yaml\n{file.read_text().rstrip()}\n```")
    return "\n\n".join(parts) + "\n"


def api_pages() -> dict[str, str]:
    """A page for each package, with its modules."""
    pages = {}
    for package in sorted(file.parent for file in PACKAGE.rglob("__init__.py")):
        name = ".".join(package.relative_to(PACKAGE.parent).parts)
        modules = [f"{name}.{file.stem}" for file in sorted(package.glob("*.py")) if not file.stem.startswith("__")]
        if modules:
            blocks = [f"{module}\n{'-' * len(module)}\n\n.. automodule:: {module}" for module in modules]
            pages[f"api/{name}.rst"] = "\n\n".join([f"{name}\n{'=' * len(name)}", *blocks]) + "\n"
    return pages


def lead_to_reference(app: Any, page: str, source: list[str]) -> None:
    """Links to files of the package and of ``conf/`` lead to their pages of the reference."""
    up = "../" * page.count("/")

    def address(match: re.Match[str]) -> str:
        kind, path = match[1], (match[2] or "").rstrip("/")
        if kind == "README.md":
            return f"]({up}index.md)"
        target = ROOT / kind / path
        folder = target if target.is_dir() else target.parent
        if kind == "conf":
            name = folder.relative_to(CONF).as_posix().replace("/", "-")
            return f"]({up}reference/conf/{'commands' if name == '.' else name}.md)"
        return f"]({up}reference/api/{'.'.join(folder.relative_to(PACKAGE.parent).parts)}.rst)"

    source[0] = _NOTEBOOK.sub(r"](notebooks/pages/\1.md)", _LEADS_OUT.sub(address, source[0]))


def write_llms(app: Any, problem: Exception | None) -> None:
    """``llms.txt`` beside the pages: every page of prose with its first sentence."""
    if problem is not None or app.builder.name != "html":
        return
    lines = ["# SAGE-PL", "", f"> {_sentence((Path(app.srcdir) / 'index.md').read_text())}", "", "## Docs", ""]
    for page in sorted(app.env.found_docs):
        file = Path(app.env.doc2path(page))
        if file.suffix == ".md" and not page.startswith("reference/"):
            text = file.read_text()
            title = match[1] if (match := _FIRST_LINE.search(text)) else page
            lines.append(f"- [{title}]({page}.html): {_sentence(text)}")
    (Path(app.outdir) / "llms.txt").write_text("\n".join(lines) + "\n")


def _sentence(text: str) -> str:
    """The first sentence of the first paragraph below a page's title."""
    paragraph = next((part for part in text.split("\n\n")[1:] if part and part[0] not in "#|`-<:("), "")
    return " ".join(paragraph.split()).partition(". ")[0].rstrip(".") + "."
