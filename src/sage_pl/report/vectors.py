"""Item vectors of a run: from text, before training, after training; and figures that describe them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sage_pl.data.sequences import Sequences
from sage_pl.report.blocks import MissingError
from sage_pl.report.reading import RunFiles
from sage_pl.semantic.tables import blocks, neighbours, normalised

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.integer]
_PAIRS = 20_000


@dataclass(frozen=True)
class RunVectors:
    """Tables [R, D] of one run, row = item id."""

    files: RunFiles

    @cached_property
    def text(self) -> FloatArray:
        """The frozen text vectors."""
        return self.files.artifact("embed").array("table")

    @cached_property
    def scored(self) -> FloatArray:
        """The vectors of the scores, after training.

        Raises:
            MissingError: the method scores by none.
        """
        table = self._trained.output_table()[:].cpu().numpy()
        if not table.shape[1]:
            raise MissingError(f"{self.files.run.folder.name} scores items without vectors")
        return table

    @cached_property
    def start_id(self) -> FloatArray:
        """The view ``id`` before training."""
        import torch

        with torch.random.fork_rng():
            torch.manual_seed(self.files.run.seed)
            return _id_view(_build(self.files, None))

    @cached_property
    def trained_id(self) -> FloatArray:
        """The view ``id`` after training."""
        return _id_view(self._trained)

    @cached_property
    def views(self) -> dict[str, FloatArray]:
        """The views of the items after training, without one that is itself scored."""
        from sage_pl.nn.item_encoders.encoded import views_beside_output

        model = self._trained
        return {name: _view(model, name) for name in views_beside_output(model.item_encoder, model.device)}

    @cached_property
    def prototypes(self) -> FloatArray:
        """The targets of the prototype term for the view ``id``."""
        from sage_pl.semantic.memberships import prototypes

        model: Any = self.files.run.config.get("model", {})
        term = next((t for t in (model.get("terms") or {}).values() if str(t["_target_"]).endswith(".Prototype")), None)
        if term is None:
            raise MissingError("no loss term of this run pulls items to prototypes")
        clusters = self.files.artifact("cluster")
        options = {key: term[key] for key in ("fuzzy_m", "normalise", "index_offset") if key in term}
        return prototypes(clusters.array("memberships"), clusters.array("centres"), **options)

    @cached_property
    def _trained(self) -> Any:
        folder = self.files.run.folder
        file = folder / "best.ckpt"  # of a stage
        file = file if file.is_file() else folder / "checkpoints" / "best.ckpt"
        if not file.is_file():
            raise MissingError(f"the item vectors need the checkpoint {file}, which is missing")
        from sage_pl.runs.checkpoint import open_checkpoint

        return _build(self.files, open_checkpoint(file).weights)


def text_of(vectors: Mapping[str, RunVectors]) -> FloatArray:
    """The text vectors of the first run that reads any.

    Raises:
        MissingError: none does.
    """
    for run in vectors.values():
        try:
            return run.text
        except MissingError:
            continue
    raise MissingError("no run here reads text, and item vectors are initialised at random")


def _build(files: RunFiles, weights: Mapping[str, Any] | None) -> Any:
    """The model of a run without its training parts, with a checkpoint's weights or before training."""
    from sage_pl.artifacts.renamed import current
    from sage_pl.runs.checkpoint import model_of
    from sage_pl.runs.checks import ConfigError

    files.artifact("sequences")
    node: Any = current(files.run.config.get("model"))
    if node is None:
        raise MissingError("the run's config.yaml holds no model")
    try:
        return model_of(node, weights)
    except ConfigError as error:
        raise MissingError(f"the run's model cannot be built by this version: {error}") from error


def _id_view(model: Any) -> FloatArray:
    if "id" not in model.item_encoder.input_dims:
        raise MissingError("the items of this run have no view id beside their text")
    return _view(model, "id")


def _view(model: Any, name: str) -> FloatArray:
    from sage_pl.nn.item_encoders.encoded import view_vectors

    return view_vectors(model.item_encoder, name, model.device)[:].cpu().numpy()


class Spread(NamedTuple):
    """Geometry of vectors on the unit sphere.

    Args:
        uniformity: ``log mean exp(-2 |x - y|^2)`` over random pairs, from -4 (uniform in many dimensions) to 0 (all equal).
        alignment: ``mean |x - y|^2`` over successive items of training histories, 0 (equal) to 4.
        cosine: mean cosine of random pairs.

    Reference: Wang and Isola 2020, "Understanding contrastive representation learning through alignment and
    uniformity on the hypersphere"; users' histories stand for their positive pairs.
    """

    uniformity: float
    alignment: float
    cosine: float


def spread(table: FloatArray, ids: IntArray, data: Sequences, seed: int = 0) -> Spread:
    """Figures of the items ``ids``; both items of a pair are among them.

    Args:
        table: [R, D].
        ids: at least two items.
        data: its training histories give the positive pairs.
        seed: of the sample of pairs, at most 20,000 of each kind.

    Raises:
        MissingError: fewer than two items, or no successive pair.
    """
    generator = np.random.default_rng(seed)
    values, offsets = data.train_csr()
    left = np.ones(len(values), bool)
    left[offsets[1:] - 1] = False  # the last event of a history has no successor
    at = np.flatnonzero(left[:-1]) if len(values) else np.zeros(0, np.int64)
    a, b = values[at], values[at + 1]
    both = np.isin(a, ids) & np.isin(b, ids) & (a != b)
    pairs = np.flatnonzero(both)
    if len(ids) < 2 or not len(pairs):
        raise MissingError("too few of these items follow each other in histories")
    pairs = generator.permutation(pairs)[:_PAIRS]
    x, y = generator.choice(ids, (2, _PAIRS))
    cosine = cosines(table, x[x != y], y[x != y])
    near = cosines(table, a[pairs], b[pairs])
    return Spread(
        float(np.log(np.exp(-2 * (2 - 2 * cosine)).mean())), float((2 - 2 * near).mean()), float(cosine.mean())
    )


def singular_values(table: FloatArray) -> FloatArray:
    """Singular values [D] of the items' rows of a table [R, D], descending, divided by the largest; 0 for a zero table."""
    rows = table[1:-1]
    gram = sum(block.T @ block for block in (block.astype(np.float64) for _, block in blocks(rows)))
    values = np.sqrt(np.linalg.eigvalsh(gram).clip(0))[::-1]
    return values / (values[0] or 1)


def purity(table: FloatArray, labels: IntArray, ids: IntArray, k: int = 10) -> FloatArray:
    """Share of each item's nearest items by cosine that belong to its cluster, [len(ids)].

    Args:
        table: [R, D].
        labels: [R] cluster of each item, negative for none; those items count as no neighbours.
        ids: items with a cluster.
        k: number of neighbours.
    """
    near = neighbours(normalised(np.asarray(table, np.float32)), ids, np.flatnonzero(labels >= 0), k)
    return (labels[near] == labels[ids][:, None]).mean(1)


def sample(ids: IntArray, n: int, seed: int) -> IntArray:
    """At most ``n`` of the ids, in order."""
    return ids if len(ids) <= n else np.sort(np.random.default_rng(seed).choice(ids, n, replace=False))


def cosines(table: FloatArray, a: IntArray, b: IntArray) -> FloatArray:
    """Cosines [M] of the rows ``a`` and ``b`` [M] of a table [R, D]; 0 with a row of zeros."""
    both = np.unique(np.concatenate([a, b]))
    unit = np.zeros((len(table), table.shape[1]), np.float32)
    unit[both] = normalised(np.asarray(table[both], np.float32))
    return np.einsum("md,md->m", unit[a], unit[b]).astype(np.float64)
