"""Clusters of items, and every item's membership in every cluster."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from sage_pl.artifacts.identity import settings
from sage_pl.artifacts.store import Artifact
from sage_pl.errors import SettingError
from sage_pl.ranges import Count, Exponent, Fuzzifier, Pair, Seed, Share, Weight, Width
from sage_pl.semantic.memberships import NOISE, IntArray, centres, check_fuzzifier, entropies, memberships
from sage_pl.semantic.projection import project
from sage_pl.semantic.sampling import Clustering, carried, sample_of
from sage_pl.semantic.tables import FloatArray, blocks, padded

log = logging.getLogger(__name__)

NOT_AN_ITEM = -2
SAMPLE = 100_000  # items of one projection
SILHOUETTE_SAMPLE = 5000
MUCH_NOISE = 0.5  # share of items, from which on a hint is logged
_FOLLOWING = {  # a size that is null: N // the first, at least the second, at most the third, its value from 1,000 items on
    "n_neighbors": (33, 5, 30),
    "n_components": (125, 2, 8),
    "min_cluster_size": (50, 3, 20),
    "min_samples": (100, 2, 10),
}


class ClusteringError(SettingError):
    """The items have fewer than two clusters."""


@dataclass(frozen=True)
class Cluster:
    """UMAP, then HDBSCAN, then fuzzy memberships: standardise, project, find dense regions, measure the distance to each.

    Labels come from the projection; centres and distances are in the reduced space, the input of this step. The formulas are
    those of :mod:`sage_pl.semantic.memberships`.

    The four sizes follow the number of items where they are ``None``: below 1,000 items they shrink with it.

    UMAP and HDBSCAN see ``sample`` items at most. Of a larger catalogue a fixed random sample is projected and clustered, and
    the other items follow the ``min_samples`` sampled ones nearest to them (:func:`sage_pl.semantic.sampling.carried`). Sizes
    then count items of the sample. Centres and memberships are those of all items.

    Args:
        n_neighbors: UMAP: number of near items; larger values give coarser structure.
        min_dist: UMAP: least distance in the projection; 0 packs clusters most tightly.
        n_components: UMAP: width of the projection.
        min_cluster_size: HDBSCAN: least number of items of a cluster.
        min_samples: HDBSCAN: neighbours of a dense point; larger values give more noise.
        epsilon: HDBSCAN: clusters nearer than this are joined.
        seed: of UMAP. ``null`` runs on several threads, with a result that differs between runs.
        fuzzy_m: the fuzzifier m > 1 of noise items' memberships.
        exponent: a, of the closeness.
        share_residual_mass: False is the reference's form, whose rows are nearly flat.
        sample: items that are projected and clustered at most; ``None`` for all.

    Writes:
        ``memberships.npy`` float32 [R, C], real rows sum to 1; ``centres.npy`` float32 [C, dim]; ``labels.npy`` int32 [R]
        (-1 noise, -2 at rows 0 and N + 1); ``strength.npy`` float32 [R]; ``umap.npy`` float32 [R, n_components];
        ``report.json``.

    Raises:
        ClusteringError: there are fewer than two clusters, or too few items for the settings.

    Note:
        UMAP's results depend on the versions of umap-learn and numba: ship the artifact to reproduce the clusters elsewhere.

    Reference: SAGE code line, clustering notebooks. Differs: docs/deviations.md.
    """

    n_neighbors: Pair | None = 30
    min_dist: Share = 0.0
    n_components: Width | None = 8
    min_cluster_size: Pair | None = 20
    min_samples: Count | None = 10
    epsilon: Weight = 0.0
    seed: Seed | None = 42
    fuzzy_m: Fuzzifier = 2.0
    exponent: Exponent = 1.0
    share_residual_mass: bool = True
    sample: Count | None = SAMPLE

    name: ClassVar[str] = "cluster"
    version: ClassVar[int] = 2  # 1: UMAP's approximate neighbours
    inputs: ClassVar[tuple[str, ...]] = ("reduce",)
    libraries: ClassVar[tuple[str, ...]] = ("umap-learn", "faiss-cpu", "hdbscan", "scikit-learn", "numba")

    def __post_init__(self) -> None:
        for key in ("min_dist", "epsilon", "fuzzy_m", "exponent"):
            object.__setattr__(self, key, float(getattr(self, key)))  # 2 and 2.0 are one artifact
        check_fuzzifier(self.fuzzy_m)

    def fingerprint(self) -> dict[str, Any]:
        """The settings for artifact keys; artifacts are older than ``sample``, whose default leaves their keys as they are."""
        return {name: value for name, value in settings(self).items() if (name, value) != ("sample", SAMPLE)}

    def run(self, inputs: Mapping[str, Artifact], out: Path) -> None:
        points = np.asarray(inputs["reduce"].array("table")[1:-1], dtype=np.float64)
        self.sized(self._most(len(points)))._write(points, out)

    def _most(self, n_items: int) -> int:
        """The number of items that are projected."""
        return n_items if self.sample is None else min(n_items, self.sample)

    def sized(self, n_items: int) -> Cluster:
        """The same step with its ``None`` sizes as they follow from the number of items.

        >>> small = Cluster(None, n_components=None, min_cluster_size=None, min_samples=4).sized(300)
        >>> small.n_neighbors, small.n_components, small.min_cluster_size, small.min_samples
        (9, 2, 6, 4)
        """
        sizes: dict[str, Any] = {
            key: min(most, max(least, n_items // per)) for key, (per, least, most) in _FOLLOWING.items()
        }
        return replace(self, **{key: size for key, size in sizes.items() if getattr(self, key) is None})

    def _write(self, points: FloatArray, out: Path) -> None:
        """The files of a step whose sizes are numbers."""
        projected, labels, strength = self._clustering(points)
        centre = centres(points, labels, strength)
        entropy = self._write_memberships(points, centre, labels, strength, out / "memberships.npy")
        report = describe(projected, labels, len(centre), entropy)
        if (most := self._most(len(points))) < len(points):
            report["sample"] = most
        log.info("%(clusters)d clusters, noise %(noise).3f, silhouette %(silhouette).3f", report)
        if report["noise"] > MUCH_NOISE:
            log.warning(
                "%.0f %% of the items are noise, in no cluster: lower steps.cluster.min_samples (now %d) or "
                "steps.cluster.min_cluster_size (now %d)",
                *(100 * report["noise"], self.min_samples, self.min_cluster_size),
            )
        np.save(out / "centres.npy", centre.astype(np.float32))
        np.save(out / "labels.npy", np.pad(labels.astype(np.int32), 1, constant_values=NOT_AN_ITEM))
        np.save(out / "strength.npy", np.pad(strength.astype(np.float32), 1))
        np.save(out / "umap.npy", padded(projected))
        (out / "report.json").write_text(json.dumps(report, indent=2))

    def _clustering(self, points: FloatArray) -> Clustering:
        """The clusters of all points, of which a sample is projected where there are many."""
        from sklearn.preprocessing import StandardScaler

        most = self._most(len(points))
        self._check_size(most, f"{most} items" if most == len(points) else f"the {most} items of steps.cluster.sample")
        standard = StandardScaler().fit_transform(points)
        if most == len(points):
            return self._clustered(standard)
        rows = sample_of(len(points), most)
        sample = self._clustered(standard[rows])
        start = time.perf_counter()
        assert self.min_samples is not None  # that of :meth:`sized`
        everything = carried(standard, rows, sample, self.min_samples)
        others = f"{len(points) - most:,}"
        log.info("%s items beside the sample of %s: %.1f s", others, f"{most:,}", time.perf_counter() - start)
        return everything

    def _clustered(self, points: FloatArray) -> Clustering:
        projected = self._project(points)
        labels, strength = self._cluster(projected)
        self._check_labels(labels)
        return Clustering(projected, labels, strength)

    def _write_memberships(
        self, points: FloatArray, centre: FloatArray, labels: IntArray, strength: FloatArray, file: Path
    ) -> FloatArray:
        """The table, block by block as it may be larger than memory; the entropy of each item's row [N]."""
        shape = len(points) + 2, len(centre)
        table, entropy = np.lib.format.open_memmap(file, "w+", np.float32, shape), np.zeros(len(points))
        form = (self.fuzzy_m, self.exponent, self.share_residual_mass)
        for start, block in blocks(points):
            rows = slice(start, start + len(block))
            shares = memberships(block, centre, labels[rows], strength[rows], *form)
            table[1 + start : 1 + start + len(block)] = shares
            entropy[rows] = entropies(shares)
        table.flush()
        return entropy

    def _check_size(self, n_items: int, what: str) -> None:
        for key, times, more in (
            ("n_neighbors", 1, 1),
            ("n_components", 1, 2),
            ("min_cluster_size", 2, 0),
            ("min_samples", 1, 1),
        ):
            value = getattr(self, key)
            if n_items < (least := times * value + more):
                raise ClusteringError(
                    f"{what} are too few for steps.cluster.{key}={value}, which needs {least}; set "
                    f"steps.cluster.{key} lower, or to null, which follows the number of items (in the data set's file: "
                    f"dataset.cluster.{key})"
                )

    def _project(self, points: FloatArray) -> FloatArray:
        assert self.n_neighbors is not None  # that of :meth:`sized`
        start = time.perf_counter()
        seconds = compiling_and_moving(*points.shape)
        log.info(
            "UMAP of %s items: about %s on a free core, with its code, which numba compiles once in a process",
            f"{len(points):,}",
            f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min",
        )
        projected = project(
            points,
            self.n_neighbors,
            self.seed,
            min_dist=self.min_dist,
            n_components=self.n_components,
            tqdm_kwds={"desc": "UMAP", "disable": not sys.stderr.isatty()},
        )
        log.info("UMAP: %d items to %d dimensions in %.1f s", *projected.shape, time.perf_counter() - start)
        return projected

    def _cluster(self, projected: FloatArray) -> tuple[IntArray, FloatArray]:
        from hdbscan import HDBSCAN

        start = time.perf_counter()
        search = HDBSCAN(
            min_cluster_size=self.min_cluster_size,
            min_samples=self.min_samples,
            cluster_selection_epsilon=self.epsilon,
            cluster_selection_method="eom",
            core_dist_n_jobs=1,  # starting worker processes takes longer than their work
        )
        with elapsing("HDBSCAN"):
            search.fit(projected.astype(np.float64))
        log.info("HDBSCAN: %.1f s", time.perf_counter() - start)
        return search.labels_, search.probabilities_

    def _check_labels(self, labels: IntArray) -> None:
        n_clusters = int(labels.max()) + 1
        if n_clusters < 2:
            raise ClusteringError(
                f"found {n_clusters} clusters among {len(labels)} items ({(labels == NOISE).sum()} of them noise), wanted at "
                f"least 2; lower steps.cluster.min_cluster_size (now {self.min_cluster_size}), steps.cluster.min_samples "
                f"(now {self.min_samples}) or steps.cluster.n_neighbors (now {self.n_neighbors})"
            )


def compiling_and_moving(n_items: int, width: int) -> float:
    """Seconds that UMAP takes on one core (AMD EPYC, family 26): numba's compiling, neighbours, and moves of every item.

    Measured with 500 to 20,000 items of width 64, within a factor of 2; UMAP itself takes 500 epochs up to 10,000 items and 200
    above.
    """
    epochs = 500 if n_items <= 10_000 else 200
    return 6 + 4e-11 * n_items**2 * width + 2.5e-6 * n_items * epochs


@contextmanager
def elapsing(what: str) -> Iterator[None]:
    """Show the time elapsed on a terminal, for work without progress reports."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    off = not sys.stderr.isatty()
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=off) as progress:
        progress.add_task(what, total=None)
        yield


def describe(projected: FloatArray | None, labels: IntArray, n_clusters: int, entropy: FloatArray) -> dict[str, Any]:
    """The report of a clustering.

    ``silhouette`` is measured in the projection without noise, on at most 5,000 items, and None without a projection;
    ``entropy`` is the mean entropy of a membership row over that of an even one: 0 is crisp, 1 flat.

    Args:
        projected: [N, P].
        labels: [N] cluster of each item, -1 for noise.
        n_clusters: C.
        entropy: of the membership row of each item [N].
    """
    sizes = np.bincount(labels[labels != NOISE], minlength=n_clusters)
    return {
        "clusters": len(sizes),
        "noise": float((labels == NOISE).mean()),
        "sizes": sizes.tolist(),
        "silhouette": None if projected is None else _silhouette(projected, labels),
        "entropy": float(entropy.mean() / np.log(len(sizes))),
    }


def _silhouette(projected: FloatArray, labels: IntArray) -> float:
    from sklearn.metrics import silhouette_score

    member = np.flatnonzero(labels != NOISE)
    if len(member) > SILHOUETTE_SAMPLE:
        member = np.random.default_rng(0).choice(member, SILHOUETTE_SAMPLE, replace=False)
    return float(silhouette_score(projected[member], labels[member]))
