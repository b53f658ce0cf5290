from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import polars as pl
import pytest

from sage_pl.artifacts.identity import identity
from sage_pl.semantic.profile import MeanProfile, PromptProfile
from sage_pl.semantic.tables import padded

USERS = [[1, 2, 2, 3, 4], [3], [4, 1, 5], [5, 3, 1, 2]]  # training: 1 2 2 | 3 | 4 | 5 3


@dataclass(frozen=True)
class Lengths:
    """Stands in for an encoder: a text's vector is its length and its position in the call."""

    libraries: ClassVar[tuple[str, ...]] = ("numpy",)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        self.seen.extend(texts)
        return np.array([[len(text), i] for i, text in enumerate(texts)], dtype=np.float32)

    seen: ClassVar[list[str]] = []


@pytest.mark.parametrize("chunk", [1, 2, 100])
def test_mean_profile_equals_a_loop_over_the_training_items(make_sequences, make_artifact, out, rng, chunk) -> None:
    vectors = padded(rng.normal(size=(5, 7)))
    MeanProfile(chunk).run({"sequences": make_sequences(USERS), "embed": make_artifact("embed", table=vectors)}, out)
    table = np.load(out / "table.npy")
    assert table.dtype == np.float32
    assert not table[0].any()
    for user, training in enumerate([[1, 2, 2], [3], [4], [5, 3]], start=1):
        mean = vectors[training].mean(axis=0)
        np.testing.assert_allclose(table[user], mean / np.linalg.norm(mean), atol=1e-6)


def test_users_whose_items_have_no_vector_get_a_zero_row(make_sequences, make_artifact, out) -> None:
    vectors = padded(np.array([[1.0], [1.0], [0.0], [0.0], [1.0]]))
    MeanProfile().run({"sequences": make_sequences(USERS), "embed": make_artifact("embed", table=vectors)}, out)
    np.testing.assert_array_equal(np.load(out / "table.npy").ravel(), [0, 1, 0, 0, 1])


def test_prompt_profile_lists_training_items_oldest_first(make_sequences, make_artifact, out) -> None:
    texts = make_artifact(
        "texts", texts=pl.DataFrame({"item": range(1, 6), "text": ["one", "two", "three", "four", "five"]})
    )
    Lengths.seen.clear()
    PromptProfile(Lengths(), prefix="> ").run({"sequences": make_sequences(USERS), "texts": texts}, out)
    assert Lengths.seen == ["> one, two, two", "> three", "> four", "> five, three"]
    np.testing.assert_array_equal(np.load(out / "table.npy"), [[0, 0], [15, 0], [7, 1], [6, 2], [13, 3]])


def test_a_prompt_of_titles_leaves_the_rest_of_the_text_out(make_sequences, make_artifact, out) -> None:
    titles = ["one", None, "three", "four", "five"]
    sequences = make_sequences(USERS)
    (sequences.path / "items.parquet").unlink(missing_ok=True)
    table = pl.DataFrame({"item": range(1, 6), "title": titles, "brand": ["b"] * 5})
    table.write_parquet(sequences.path / "items.parquet")
    texts = make_artifact("texts", texts=pl.DataFrame({"item": range(1, 6), "text": ["long"] * 5}))
    Lengths.seen.clear()
    step = PromptProfile(Lengths(), prefix="", columns=("title",))
    step.run({"sequences": sequences, "texts": texts}, out)
    assert Lengths.seen == ["one, unknown, unknown", "three", "four", "five, three"]
    with pytest.raises(ValueError, match=r"has no column name; set steps\.profile\.columns"):
        PromptProfile(Lengths(), columns=("name",)).run({"sequences": sequences, "texts": texts}, out)


def test_prompt_profile_keeps_the_newest(make_sequences, make_artifact, out) -> None:
    texts = make_artifact(
        "texts", texts=pl.DataFrame({"item": range(1, 6), "text": ["one", "two", "three", "four", "five"]})
    )
    Lengths.seen.clear()
    PromptProfile(Lengths(), max_chars=5, prefix="").run({"sequences": make_sequences(USERS), "texts": texts}, out)
    assert Lengths.seen == [", two", "three", "four", "three"]


def test_prompt_profile_depends_on_its_encoder() -> None:
    step = PromptProfile(Lengths())
    assert step.libraries == ("numpy",)
    assert identity(step)["encoder"] == {"class": "Lengths"}
