"""Steps whose results are read from the reference's ``handled/`` folder instead of being computed.

The files, for n items and U users: row r of an item file belongs to the source's item id r + 1, row r of a user file to the
r-th user of ``inter.txt``; floats are float64. The files are right, but the reference's *model* reads memberships off by
one, does not divide prototypes by ``sum_k U^m`` and ignores labels and strengths (docs/deviations.md;
``loss.terms.prototype.index_offset`` and ``normalise``). Here an item gets its own row.

A step's key depends on the content of its files, not on their path. ``sage_pl.reference.export`` writes such a folder.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from sage_pl.artifacts.store import Artifact
from sage_pl.data.plain_pickle import read_plain_pickle
from sage_pl.data.sources.raw import DataError, InputFile, hashes, require_file
from sage_pl.errors import SettingError
from sage_pl.semantic.cluster import NOT_AN_ITEM, describe
from sage_pl.semantic.memberships import NOISE, IntArray, entropies
from sage_pl.semantic.tables import padded

log = logging.getLogger(__name__)

Array = npt.NDArray[Any]
ROUNDING = 1e-3  # tolerance of the sums of memberships


@dataclass(frozen=True)
class HandledStep:
    """Base of the steps: finds, checks and hashes files of the folder.

    Args:
        path: the folder.

    Raises:
        SettingError: no folder is named.
        MissingFileError: the folder lacks a file of the step.
        DataError: a file is no plain pickle, its rows are not the data set's items or users, or a number is NaN. Also where
            files do not fit each other or the reference's convention, or a position does not exist.
    """

    path: str | Path | None = field(compare=False)

    name: ClassVar[str]
    file_names: ClassVar[tuple[str, ...]]
    version: ClassVar[int] = 1
    inputs: ClassVar[tuple[str, ...]] = ("sequences",)
    libraries: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        if self.path is None:
            raise SettingError(
                f"semantic=handled reads a folder, but steps.{self.name}.path is not set; name the folder with "
                f"dataset=handled dataset.path=DIR, or for other data sets with +dataset.path=DIR"
            )

    def files(self) -> dict[str, InputFile]:
        """The files of the step, present or not."""
        compute = f"compute this step: 'steps.{self.name}=${{native.{self.name}}}'"
        help = f"name the folder that has it with steps.{self.name}.path=DIR, or {compute}"
        return {name: InputFile(Path(str(self.path)) / name, help) for name in self.file_names}

    def fingerprint(self) -> dict[str, str]:
        """Hashes of the files, which identify this step in an artifact key."""
        return hashes(self.files())

    def _read(self, name: str, shape: tuple[int | str, ...], kinds: str = "fiu") -> Array:
        """A file's array of ``kinds`` and ``shape`` (a letter stands for any size above 0), finite in float32."""
        file = require_file(*self.files()[name])
        array = _as_array(read_plain_pickle(file))
        expected = f"{'whole numbers' if 'f' not in kinds else 'numbers'} [{', '.join(map(str, shape))}]"
        if array is None or array.dtype.kind not in kinds or array.ndim != len(shape) or not array.size:
            got = "no array" if array is None else f"a {array.dtype} array {array.shape}"
            raise DataError(f"{file} holds {got}, wanted {expected}; it is not the file of that name")
        if any(isinstance(size, int) and size != length for size, length in zip(shape, array.shape, strict=True)):
            raise DataError(
                f"{file} holds an array {array.shape}, wanted {expected}; it was made for other data, or the data set was "
                "filtered: use the inter.txt beside it with dataset=handled dataset.filters=[]"
            )
        with np.errstate(over="ignore"):
            broken = ~np.isfinite(array.astype(np.float32)).reshape(len(array), -1).all(axis=1)
        if broken.any():
            raise DataError(
                f"{file}: {broken.sum()} rows hold NaN or numbers infinite in float32 (the first is row {broken.argmax()}, "
                "counted from 0); correct them there"
            )
        return array


@dataclass(frozen=True)
class PrecomputedReduce(HandledStep):
    """Reduced item vectors of ``pca64_itm_emb_np.pkl`` [n, D]: principal components, centred, not whitened.

    Writes:
        ``table.npy`` float32 [R, D]; no ``explained.npy``, since the folder lacks the explained variance.

    Reference: LLM-ESR, ``pca64_itm_emb_np.pkl``.
    """

    name: ClassVar[str] = "reduce"
    file_names: ClassVar[tuple[str, ...]] = ("pca64_itm_emb_np.pkl",)

    def run(self, inputs: Mapping[str, Artifact], out: Path) -> None:
        rows = item_rows(inputs["sequences"])
        np.save(out / "table.npy", padded(self._read(self.file_names[0], (len(rows), "D"))[rows]))


@dataclass(frozen=True)
class PrecomputedCluster(HandledStep):
    """Clusters of ``hdbscan_*.pkl``: labels [n] (-1 noise), strengths [n], centres [C, D], memberships [n, C].

    Centres are means weighted by strength, in the space of ``pca64_itm_emb_np.pkl``, neither standardised nor scaled to
    norm 1. Rows of memberships sum to 1; the reference's are nearly flat, since it gives each other cluster the whole mass
    ``1 - p`` of a member (docs/deviations.md). They are used unchanged.

    Writes:
        ``memberships.npy``, ``centres.npy``, ``labels.npy``, ``strength.npy`` and ``report.json`` as
        :class:`sage_pl.semantic.cluster.Cluster` does; no ``umap.npy`` and a null ``silhouette`` in the report, since the
        folder lacks the projection.

    Reference: SAGE code line, ``hdbscan_*.pkl``.
    """

    name: ClassVar[str] = "cluster"
    file_names: ClassVar[tuple[str, ...]] = (
        "hdbscan_best_labels.pkl",
        "hdbscan_core_probs.pkl",
        "hdbscan_cluster_centers.pkl",
        "hdbscan_fuzzy_U.pkl",
    )

    def run(self, inputs: Mapping[str, Artifact], out: Path) -> None:
        rows = item_rows(inputs["sequences"])
        labels_file, strength_file, centres_file, shares_file = self.file_names
        centres = self._read(centres_file, ("C", "D"))
        labels = self._read(labels_file, (len(rows),), kinds="iu")[rows]
        strength = self._read(strength_file, (len(rows),))[rows]
        shares = self._read(shares_file, (len(rows), len(centres)))[rows]
        self._check_convention(labels, strength, shares)
        report = describe(None, labels, shares.shape[1], entropies(np.asarray(shares, dtype=np.float64)))
        log.info("%(clusters)d clusters, noise %(noise).3f", report)
        np.save(out / "memberships.npy", padded(shares))
        np.save(out / "centres.npy", centres.astype(np.float32))
        np.save(out / "labels.npy", np.pad(labels.astype(np.int32), 1, constant_values=NOT_AN_ITEM))
        np.save(out / "strength.npy", np.pad(strength.astype(np.float32), 1))
        (out / "report.json").write_text(json.dumps(report, indent=2))

    def _check_convention(self, labels: IntArray, strength: Array, shares: Array) -> None:
        labels_file, strength_file, _, shares_file = self.file_names
        n_clusters, sums = shares.shape[1], shares.sum(axis=1)
        if n_clusters < 2:
            raise DataError(f"{shares_file} in {self.path} has {n_clusters} cluster, wanted at least 2")
        _require_range(labels_file, "labels", labels, NOISE, n_clusters - 1, "-1 is noise, clusters count from 0")
        _require_range(strength_file, "strengths", strength, 0, 1, "0 is noise, 1 the core of a cluster")
        _require_range(shares_file, "memberships", shares, 0, 1, "shares of an item in each cluster")
        if (abs(sums - 1) > ROUNDING).any():
            raise DataError(
                f"{shares_file}: its rows sum to {sums.min():.4g} to {sums.max():.4g}, wanted 1; divide each row by its sum"
            )


@dataclass(frozen=True)
class PrecomputedProfile(HandledStep):
    """User vectors of ``usr_emb_np.pkl`` [U, D], unchanged: in the reference, encoded prompts of the training items.

    Writes:
        ``table.npy`` float32 [U + 1, D], row 0 zero.

    Reference: LLM-ESR, ``usr_emb_np.pkl``.
    """

    name: ClassVar[str] = "profile"
    file_names: ClassVar[tuple[str, ...]] = ("usr_emb_np.pkl",)

    def run(self, inputs: Mapping[str, Artifact], out: Path) -> None:
        n_users = count_users(inputs["sequences"])
        rows = self._read(self.file_names[0], (n_users, "D"))
        np.save(out / "table.npy", np.pad(rows.astype(np.float32), ((1, 0), (0, 0))))


@dataclass(frozen=True)
class PrecomputedRetrieve(HandledStep):
    """Similar users of ``sim_user_100.pkl`` [U, k]: positions of users counted from 0, most similar first.

    A user's own position stands for "none" and is removed, the others move up: the reference drops the first hit alone,
    which among users with equal vectors may be another user.

    Writes:
        ``neighbours.npy`` int32 [U + 1, k], user ids 1..U, 0 where there are fewer than k.

    Reference: LLM-ESR, ``sim_user_100.pkl``. Users with one training item stay in the lists, as there;
    :class:`sage_pl.semantic.retrieve.Retrieve` differs and skips them.
    """

    name: ClassVar[str] = "retrieve"
    file_names: ClassVar[tuple[str, ...]] = ("sim_user_100.pkl",)

    def run(self, inputs: Mapping[str, Artifact], out: Path) -> None:
        n_users = count_users(inputs["sequences"])
        positions = self._read(self.file_names[0], (n_users, "k"), kinds="iu").astype(np.int64)
        _require_range(self.file_names[0], "positions", positions, 0, n_users - 1, "users count from 0 there")
        others = positions != np.arange(n_users)[:, None]
        first = np.argsort(~others, axis=1, kind="stable")
        neighbours = np.take_along_axis(np.where(others, positions + 1, 0), first, axis=1)
        np.save(out / "neighbours.npy", np.pad(neighbours.astype(np.int32), ((1, 0), (0, 0))))
        log.info("%d of %d users have neighbours", others.any(axis=1).sum(), n_users)


def item_rows(sequences: Artifact) -> IntArray:
    """Row in an item file of each item 1..N, [N].

    Raises:
        DataError: the source's item ids are not 1..N.
    """
    return _numbered(sequences, "item")


def count_users(sequences: Artifact) -> int:
    """Number of users of the data set, whose order is that of the file.

    Raises:
        DataError: the source's user ids are not 1..U.
    """
    return len(_numbered(sequences, "user"))


def _numbered(sequences: Artifact, what: str) -> IntArray:
    """The source's ids minus 1, by the project's ids."""
    ids = sequences.frame(f"{what}s").sort(what)[f"{what}_id"]
    if not ids.dtype.is_integer() or ids.sort().to_list() != list(range(1, len(ids) + 1)):
        raise DataError(
            f"rows of a handled/ folder belong to the {what} ids 1..{len(ids)}, but this data set's are others (the first is "
            f"{ids[0]!r}); use the folder's own inter.txt: dataset=handled dataset.path=DIR dataset.filters=[]"
        )
    return ids.to_numpy() - 1


def _as_array(value: Any) -> Array | None:
    """An array, or nested lists of equal lengths, as an array; None for anything else."""
    if not isinstance(value, np.ndarray | list):
        return None
    try:
        return np.asarray(value)
    except (ValueError, OverflowError, MemoryError):  # lists of unequal length, huge numbers
        return None


def _require_range(file: str, what: str, values: Array, low: int, high: int, meaning: str) -> None:
    """Raise DataError for values outside low..high by more than :data:`ROUNDING`."""
    if values.min() < low - ROUNDING or values.max() > high + ROUNDING:
        raise DataError(
            f"{file}: its {what} reach from {values.min():g} to {values.max():g}, wanted {low} to {high} ({meaning})"
        )
