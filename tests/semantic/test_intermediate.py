import numpy as np
import pytest

from sage_pl.semantic.reduce import Intermediate, Reduce
from sage_pl.semantic.tables import padded


def reduced(step, artifact, folder):
    folder.mkdir()
    step.run({"embed": artifact}, folder)
    return np.load(folder / "table.npy"), np.load(folder / "explained.npy")


@pytest.mark.parametrize("whiten", [False, True])
def test_components_are_those_of_the_reduction(make_artifact, tmp_path, rng, whiten) -> None:
    embed = make_artifact("embed", table=padded(rng.normal(size=(30, 6))))
    ours = reduced(Intermediate(3, whiten), embed, tmp_path / "a")
    theirs = reduced(Reduce(3, whiten), embed, tmp_path / "b")
    for mine, want in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(mine, want)
    assert ours[0].shape == (32, 3)


def test_narrow_text_keeps_every_component(make_artifact, tmp_path, rng) -> None:
    rows = rng.normal(size=(30, 6)) + 5
    table, explained = reduced(Intermediate(), make_artifact("embed", table=padded(rows)), tmp_path / "a")
    assert table.shape == (32, 6)
    assert explained.sum() == pytest.approx(1)
    centred = padded(rows)[1:-1] - padded(rows)[1:-1].mean(axis=0)
    np.testing.assert_allclose(table[1:-1] @ table[1:-1].T, centred @ centred.T, atol=1e-3)  # a rotation
    assert not table[[0, -1]].any()


def test_few_items_allow_as_many_components(make_artifact, tmp_path, rng) -> None:
    table, _ = reduced(Intermediate(), make_artifact("embed", table=padded(rng.normal(size=(4, 9)))), tmp_path / "a")
    assert table.shape == (6, 4)


def test_no_component_is_refused() -> None:
    with pytest.raises(ValueError, match=r"steps\.intermediate\.dim is 0, wanted at least 1"):
        Intermediate(0)
