"""Names and numbers as readers see them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

_GROUPS = {
    "overall": "all",
    "item_head": "head items",
    "item_tail": "tail items",
    "item_unseen": "unseen items",
    "user_short": "short histories",
    "user_long": "long histories",
    "answer_repeat": "repeated answers",
    "answer_new": "new answers",
    "day_own": "a day of its own",
    "day_shared": "a shared day",
}
_UPPER = ("sage", "pad", "sam", "sine", "mind", "melt", "ctrl", "smem", "eimf", "stosa", "said", "tiger")
_SPELLINGS = {name: name.upper() for name in _UPPER} | {
    "sasrec": "SASRec",
    "bert4rec": "BERT4Rec",
    "gru4rec": "GRU4Rec",
    "bsarec": "BSARec",
    "llm_esr": "LLM-ESR",
    "llmemb": "LLMEmb",
    "llm_init": "LLM-init",
    "comirec": "ComiRec",
    "tslrec": "TSLRec",
    "text_knn": "Text KNN",
    "id_and_text": "ID and text",
    "llmesr_yelp": "Yelp (LLM-ESR)",
    "llmesr_fashion": "Fashion (LLM-ESR)",
}
_PATH = re.compile(r"(?<![^\s'\"(=\[,])(?:file://|~)?(?:/[^\s,;'\")\]/]+){2,}")
_CELL = re.compile(r"user_(short|long)_item_(head|tail)")


def title(name: str) -> str:
    """A choice or a data set as a title has it: ``llm_esr`` -> ``LLM-ESR``, ``learned_fusion`` -> ``Learned fusion``."""
    return _SPELLINGS.get(name, name[:1].upper() + name[1:].replace("_", " "))


def listed(names: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def without_folders(text: str) -> str:
    """A text whose absolute paths keep their last two names: a page says nothing of the machine that made it."""
    return _PATH.sub(
        lambda path: "/".join(["…", *path.group().rsplit("/", 2 if path.group().count("/") > 2 else 1)[1:]]), text
    )


def near(path: str | Path) -> str:
    """A path as it is named from the working directory; as it is where it lies elsewhere."""
    place = Path(path)
    return str(place.relative_to(Path.cwd())) if place.is_relative_to(Path.cwd()) else str(place)


def relative(value: float | None, base: float | None) -> str:
    """A difference as a share of its base, in percent with its sign: ``+51 %``; a dash where the base is 0 or unknown."""
    if value is None or not base:
        return "–"
    share = 100 * value / base
    return f"{share:+.{0 if abs(share) >= 10 else 1}f} %".replace("-", "−")


def group(name: str) -> str:
    """``item_10-19`` -> ``10–19``; other names stay as they are."""
    if name in _GROUPS:
        return _GROUPS[name]
    if cell := _CELL.fullmatch(name):
        return f"{cell.group(1)} history, {cell.group(2)} item"
    return re.sub(r"^(item|user)_(?=\d)", "", name).replace("-", "–").replace("_", " ")


def metric(name: str) -> str:
    """``ndcg@10`` -> ``NDCG@10``."""
    return name.upper()


def protocol(name: str) -> str:
    """``sampled100`` -> ``100 sampled candidates``."""
    if name.startswith("sampled"):
        return f"{name.removeprefix('sampled')} sampled candidates"
    return "all items ranked" if name == "full" else name


def percent(value: float | None, digits: int = 2) -> str:
    """A share in percent, without the sign."""
    return "–" if value is None else f"{100 * value:.{digits}f}"


def points(value: float | None) -> str:
    """A difference of shares in percentage points, with its sign."""
    return "–" if value is None else f"{100 * value:+.2f}".replace("-", "−")


def between(low: float | None, high: float | None) -> str:
    """An interval of shares in percent; empty where an end is missing."""
    return "" if low is None or high is None else f"{percent(low)} to {percent(high)}"


def seconds(value: float) -> str:
    """``0.4 s``, ``12 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if value < 10:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def size(n_bytes: float) -> str:
    """``512 B``, ``3.4 MB``."""
    for unit in ("B", "kB", "MB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} {unit}" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} GB"


def shorten(text: str, length: int = 90) -> str:
    """At most ``length`` characters."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"
