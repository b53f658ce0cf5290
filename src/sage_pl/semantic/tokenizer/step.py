"""The step that gives every item its codes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, get_args

import numpy as np

from sage_pl.artifacts.store import Artifact
from sage_pl.data.sequences import Sequences
from sage_pl.errors import SettingError
from sage_pl.ranges import Seed, Weight
from sage_pl.semantic.memberships import IntArray
from sage_pl.semantic.tables import FloatArray
from sage_pl.semantic.tokenizer.balance import Balanced
from sage_pl.semantic.tokenizer.collisions import matched, suffixed
from sage_pl.semantic.tokenizer.report import describe, log_lines
from sage_pl.semantic.tokenizer.residual import Quantiser, residual_codes, squared_distances
from sage_pl.semantic.tokenizer.views import Views, completed, directions, trust

Source = Literal["collaborative", "text"]
Collisions = Literal["match", "suffix", "keep"]


@dataclass(frozen=True)
class Tokens:
    """Residual quantisation of item vectors: each item becomes a short string of codes.

    Source and target are the two views of :mod:`sage_pl.semantic.tokenizer.views`. Collaborative vectors pulled towards text:
    Semantic Convergence. The reverse: LETTER. Text alone: TIGER, LC-Rec.

    The collaborative row of an item without training events is noise and masked; its codes come from its text: from the
    collaborative vector predicted from it, and from the text view itself. Rare items lean on their text too (``pivot``).

    Args:
        quantiser: ``ResidualKMeans`` or ``ResidualVAE``, with the weight of the pull.
        source: the quantised view, ``collaborative`` or ``text``; the other one pulls.
        text: the step whose ``table.npy`` holds the items' text vectors.
        collaborative: the stage whose ``item_table.npy`` holds the items' trained vectors; None for text alone.
        pivot: training events at which an item's collaborative vector has weight one half.
        balance: assignment of the last level; None takes the nearest code.
        collisions: ``match`` (a suffix where a group is too large), ``suffix`` or ``keep``.
        seed: of the quantiser.

    Writes:
        ``codes.npy`` int32 [N + 2, H], -1 at rows 0 and N + 1; ``sizes.json``, ``{"sizes": [...]}``, the number of codes of
        each of the H levels, a suffix included; ``codebooks.npy`` float32 [T, V, e]; ``report.json``; and of trained codebooks
        ``metrics.csv``.

    Raises:
        ValueError: a setting is unknown, or there are fewer items than codes.

    Note:
        Text, that of held-out items included, is known before any interaction; collaborative vectors come from a run on the
        training part alone.
    """

    quantiser: Quantiser
    source: Source = "collaborative"
    text: str = "embed"
    collaborative: str | None = "plain"
    pivot: Weight = 5.0
    balance: Balanced | None = None
    collisions: Collisions = "match"
    seed: Seed = 0

    name: ClassVar[str] = "tokens"
    version: ClassVar[int] = 1
    READ_WITH: ClassVar = dict.fromkeys(("pivot", "quantiser.pull", "quantiser.temperature"), ("collaborative", bool))

    def __post_init__(self) -> None:
        object.__setattr__(self, "pivot", float(self.pivot))  # 5 and 5.0 are one artifact
        if self.source not in get_args(Source) or self.collisions not in get_args(Collisions):
            raise SettingError(
                f"source is {self.source!r} and collisions is {self.collisions!r}; choose from {', '.join(get_args(Source))} "
                f"and {', '.join(get_args(Collisions))}"
            )
        if self.source == "collaborative" and self.collaborative is None:
            raise SettingError(
                "source=collaborative needs collaborative, the stage that trains item vectors, e.g. plain"
            )
        if self.pivot < 0:
            raise SettingError(f"steps.tokens.pivot is {self.pivot}, wanted at least 0")

    @property
    def inputs(self) -> tuple[str, ...]:
        return ("sequences", self.text, *([self.collaborative] if self.collaborative else []))

    @property
    def libraries(self) -> tuple[str, ...]:
        return ("scikit-learn", "scipy", *self.quantiser.libraries)

    def run(self, inputs: Mapping[str, Artifact], out: Path) -> None:
        counts = Sequences.load(inputs["sequences"]).train_counts[1:-1]
        table = np.asarray(inputs[self.text].array("table")[1:-1], dtype=np.float32)
        vectors = {"text": directions(table, (table != 0).any(axis=1))}
        if self.collaborative:
            table = np.asarray(inputs[self.collaborative].array("item_table")[1:-1], dtype=np.float32)
            vectors["collaborative"] = directions(table, counts > 0)
        quantised = self.quantiser.fit(self._views(vectors, counts), self.seed, out)
        nearest, residuals = residual_codes(*quantised)
        codes = self._assign(nearest.copy(), residuals, quantised.codebooks[-1])
        sizes = [quantised.codebooks.shape[1]] * nearest.shape[1]
        if codes.shape[1] > len(sizes):
            sizes.append(int(codes[:, -1].max()) + 1)
        report = describe(quantised, nearest, codes, sizes, counts, vectors)
        log_lines(report)
        np.save(out / "codes.npy", np.pad(codes.astype(np.int32), ((1, 1), (0, 0)), constant_values=-1))
        np.save(out / "codebooks.npy", quantised.codebooks.astype(np.float32))
        (out / "sizes.json").write_text(json.dumps({"sizes": sizes}))
        (out / "report.json").write_text(json.dumps(report, indent=2))

    def _views(self, vectors: Mapping[str, FloatArray], counts: IntArray) -> Views:
        text = vectors["text"]
        if not self.collaborative:
            return Views(text, None, np.ones(len(counts)))
        weights = trust(counts, self.pivot)
        collaborative = completed(vectors["collaborative"], text, weights)
        if self.source == "text":
            return Views(text, collaborative, weights)
        return Views(collaborative, text, (text != 0).any(axis=1).astype(np.float64))

    def _assign(self, codes: IntArray, residuals: FloatArray, last: FloatArray) -> IntArray:
        """Codes with a balanced last level and without collisions."""
        if self.balance is not None:
            codes[:, -1] = self.balance(squared_distances(residuals, last))
        if self.collisions == "match":
            return matched(codes, residuals, last)
        return suffixed(codes) if self.collisions == "suffix" else codes
