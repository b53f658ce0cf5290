import numpy as np
import polars as pl
import pytest

from sage_pl.semantic.embedders.cooccurrence import CooccurrenceEmbedder
from sage_pl.semantic.interests.vectors import ComparableInterests, InterestVectors, Shuffled, shuffled


class Lengths:
    """A text's vector is its length and 1."""

    libraries = ("numpy",)

    def __init__(self) -> None:
        self.asked: list[str] = []

    def encode(self, texts):
        self.asked = list(texts)
        return np.array([[len(text), 1] for text in texts], dtype=np.float32)


@pytest.fixture
def inputs(make_artifact):
    phrases = pl.DataFrame({"user": [3, 1, 1], "group": [0, 1, 0], "phrase": ["ccc", "bb", "a"], "by": ["x"] * 3})
    return {
        "groups": make_artifact("groups", offsets=[0, 0, 2, 2, 3]),  # users 1 2 3
        "phrases": make_artifact("phrases", phrases=phrases),
    }


def test_rows_of_a_user_are_its_groups_in_order(inputs, out) -> None:
    encoder = Lengths()
    step = InterestVectors(encoder)
    step.run(inputs, out)
    values, offsets = np.load(out / "values.npy"), np.load(out / "offsets.npy")
    assert values.dtype == np.float16
    assert values[:, 0].tolist() == [1, 2, 3]
    assert offsets.tolist() == [0, 0, 2, 2, 3]
    assert step.libraries == ("numpy",)


def test_shuffled_interests_belong_to_somebody_else() -> None:
    counts = np.array([0, 2, 0, 1, 3, 1])
    values = np.repeat(np.arange(6), counts)[:, None] * 10.0
    mixed, given = shuffled(values, counts, seed=0)
    assert sorted(given) == sorted(counts)
    owners = np.repeat(np.arange(6), given)
    assert sorted(mixed[:, 0]) == sorted(values[:, 0])
    assert not (mixed[:, 0] == owners * 10).any()
    assert given[[0, 2]].tolist() == [0, 0]
    again, _ = shuffled(values, counts, seed=0)
    np.testing.assert_array_equal(mixed, again)


def test_shuffling_reads_vectors_and_encodes_nothing(inputs, out, make_artifact, tmp_path) -> None:
    """The same result as that of the step which encodes, of its result alone."""
    InterestVectors(Lengths()).run(inputs, out)
    encoded = make_artifact("encoded", **{name: np.load(out / f"{name}.npy") for name in ("values", "offsets")})
    (again := tmp_path / "again").mkdir()
    Shuffled(seed=0).run({"interests": encoded}, again)
    assert np.load(again / "offsets.npy").tolist() == [0, 0, 1, 1, 3]
    assert np.load(again / "values.npy")[:, 0].tolist() == [3, 1, 2]
    assert Shuffled.inputs == ("interests",)


def test_shuffling_is_written(inputs, out) -> None:
    InterestVectors(Lengths(), shuffle=0).run(inputs, out)
    assert np.load(out / "offsets.npy").tolist() == [0, 0, 1, 1, 3]
    assert np.load(out / "values.npy")[:, 0].tolist() == [3, 1, 2]


def test_an_embedder_that_knows_no_texts_is_named(inputs, out) -> None:
    with pytest.raises(
        ValueError, match=r"encoder is a CooccurrenceEmbedder, which encodes no texts.*set embedder=minilm"
    ):
        InterestVectors(CooccurrenceEmbedder()).run(inputs, out)


class Fitted(Lengths):
    """A text's vector is its length by that of the longest text it was fitted to."""

    def encode(self, texts):
        return self.fitted(texts)(texts)

    def fitted(self, known):
        return lambda texts: super(Fitted, self).encode(texts) / max(map(len, known))


def test_interests_are_encoded_in_the_space_of_the_items(inputs, out, make_artifact) -> None:
    """An encoder that is fitted to its texts is fitted to those of the items, with which interests are compared."""
    items = pl.DataFrame({"item": [1, 2], "text": ["a", "b" * 10]})
    ComparableInterests(Fitted()).run({**inputs, "texts": make_artifact("texts", texts=items)}, out)
    np.testing.assert_allclose(np.load(out / "values.npy")[:, 0], [0.1, 0.2, 0.3], atol=1e-3)
    InterestVectors(Fitted()).run(inputs, out)
    np.testing.assert_allclose(np.load(out / "values.npy")[:, 0], [1 / 3, 2 / 3, 1], atol=1e-3)
