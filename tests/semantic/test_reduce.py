import numpy as np
import pytest

from sage_pl.artifacts.identity import identity
from sage_pl.semantic.reduce import Intermediate, Reduce
from sage_pl.semantic.tables import padded


def reduced(make_artifact, out, rows, **fields):
    Reduce(**fields).run({"embed": make_artifact("embed", table=padded(rows))}, out)
    return np.load(out / "table.npy"), np.load(out / "explained.npy")


def test_components_equal_those_of_a_singular_value_decomposition(make_artifact, out, rng) -> None:
    rows = rng.normal(size=(30, 6)).astype(np.float32) + 5
    table, explained = reduced(make_artifact, out, rows, dim=3)
    centred = rows - rows.mean(axis=0)
    left, scale, _ = np.linalg.svd(centred.astype(np.float64), full_matrices=False)
    np.testing.assert_allclose(np.abs(table[1:-1]), np.abs(left[:, :3] * scale[:3]), atol=1e-5)
    np.testing.assert_allclose(explained, (scale**2 / (scale**2).sum())[:3], atol=1e-6)
    assert table.dtype == np.float32
    assert not table[[0, -1]].any()


def test_two_runs_agree_to_the_bit_and_in_sign(make_artifact, out, rng, tmp_path) -> None:
    rows = rng.normal(size=(30, 6))
    first, _ = reduced(make_artifact, out, rows, dim=6)
    embed = make_artifact("again", table=padded(rows))
    Reduce(6).run({"embed": embed}, tmp_path)
    np.testing.assert_array_equal(first, np.load(tmp_path / "table.npy"))


def test_whitened_components_have_unit_variance(make_artifact, out, rng) -> None:
    table, _ = reduced(make_artifact, out, rng.normal(size=(50, 4)) * [1, 2, 3, 4], dim=2, whiten=True)
    np.testing.assert_allclose(table[1:-1].var(axis=0, ddof=1), 1, atol=1e-5)


@pytest.mark.parametrize("dim", [0, 5, 64])
def test_a_width_the_data_do_not_allow_is_refused(make_artifact, out, rng, dim) -> None:
    with pytest.raises(ValueError, match=r"10 items of width 4 to .* set steps\.reduce\.dim to 1\.\.4"):
        reduced(make_artifact, out, rng.normal(size=(10, 4)), dim=dim)
    assert not list(out.iterdir())


@pytest.mark.parametrize("ridge", [0.0, 7.5, 500.0])
def test_a_ridge_bends_the_spectrum_between_whitened_and_plain(make_artifact, out, rng, ridge) -> None:
    rows = rng.normal(size=(40, 6)) * [5, 3, 2, 1, 1, 0.5] + 3
    table, _ = reduced(make_artifact, out, rows, dim=4, ridge=ridge)
    left, scale, _ = np.linalg.svd(rows.astype(np.float32).astype(np.float64) - rows.mean(0), full_matrices=False)
    expected = left[:, :4] * np.sqrt(scale**2 / (scale**2 + ridge))[:4]
    np.testing.assert_allclose(np.abs(table[1:-1]), np.abs(expected), atol=1e-5)


def test_a_component_without_variance_stays_zero_under_a_ridge_of_0(make_artifact, out, rng) -> None:
    rows = np.pad(rng.normal(size=(20, 2)), ((0, 0), (0, 1)))
    table, _ = reduced(make_artifact, out, rows, dim=3, ridge=0.0)
    assert np.isfinite(table).all()
    np.testing.assert_allclose((table[1:-1, :2] ** 2).sum(0), 1, atol=1e-5)


def test_a_ridge_and_whitening_are_one_too_many() -> None:
    with pytest.raises(ValueError, match=r"whiten=true and ridge=1\.0, wanted one of them"):
        Reduce(4, whiten=True, ridge=1.0)


def test_the_key_is_what_it_was_before_there_was_a_ridge() -> None:
    assert identity(Reduce(8)) == {"class": "Reduce", "dim": 8, "whiten": False}
    assert identity(Reduce(8, ridge=500.0)) == {"class": "Reduce", "dim": 8, "whiten": False, "ridge": 500.0}


@pytest.mark.parametrize("whiten", [False, True])
def test_items_of_which_nothing_is_known_stay_zero_and_count_for_nothing(
    make_artifact, out, rng, tmp_path, whiten
) -> None:
    rows = rng.normal(size=(30, 6)) + 5
    known, _ = reduced(make_artifact, out, rows, dim=3, whiten=whiten)
    embed = make_artifact("again", table=padded(np.insert(rows, [0, 10], 0, axis=0)))
    Reduce(3, whiten).run({"embed": embed}, tmp_path)
    table = np.load(tmp_path / "table.npy")
    assert not table[[1, 12]].any()
    np.testing.assert_array_equal(np.delete(table, [1, 12], axis=0), known)


def test_no_more_components_than_items_that_are_known(make_artifact, out, rng) -> None:
    rows = np.insert(rng.normal(size=(3, 6)), 0, np.zeros((9, 6)), axis=0)
    with pytest.raises(ValueError, match=r"3 items of width 6 to 4 .* set steps\.reduce\.dim to 1\.\.3"):
        reduced(make_artifact, out, rows, dim=4)


@pytest.mark.parametrize("step", [Reduce(1), Reduce(1, ridge=1.0), Intermediate()])
def test_one_item_of_which_anything_is_known_has_no_components(make_artifact, out, rng, step) -> None:
    rows = np.insert(rng.normal(size=(1, 6)), 0, np.zeros((9, 6)), axis=0)
    with pytest.raises(ValueError, match="need 2 items with vectors that are not zero, got 1"):
        step.run({"embed": make_artifact("embed", table=padded(rows))}, out)


@pytest.mark.parametrize("step", [Reduce(3, ridge=500.0), Intermediate()])
def test_every_form_of_components_leaves_out_what_is_not_known(make_artifact, out, rng, tmp_path, step) -> None:
    rows = rng.normal(size=(30, 6))
    step.run({"embed": make_artifact("embed", table=padded(rows))}, out)
    step.run({"embed": make_artifact("again", table=padded(np.insert(rows, 10, 0, axis=0)))}, tmp_path)
    table = np.load(tmp_path / "table.npy")
    assert not table[11].any()
    np.testing.assert_array_equal(np.delete(table, 11, axis=0), np.load(out / "table.npy"))
