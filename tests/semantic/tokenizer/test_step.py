"""The step over a small planted world: four kinds of items by text, four others by behaviour, some items never seen."""

import json

import numpy as np
import pytest

from sage_pl.artifacts.store import Store
from sage_pl.semantic.tables import padded
from sage_pl.semantic.tokenizer.balance import Balanced
from sage_pl.semantic.tokenizer.collisions import group_sizes
from sage_pl.semantic.tokenizer.kmeans import ResidualKMeans
from sage_pl.semantic.tokenizer.report import preservation
from sage_pl.semantic.tokenizer.rq_vae import ResidualVAE
from sage_pl.semantic.tokenizer.step import Tokens
from sage_pl.semantic.tokenizer.views import directions
from sage_pl.semantic.trainers import trainer_settings

N, TRAINED = 60, 48
NUMBER = np.arange(N)
TEXT_KIND, OTHER_KIND = NUMBER % 4, NUMBER // 4 % 4
SMALL = ResidualKMeans(levels=2, codes=8)


def noisy(kind: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.eye(4)[kind] + 0.1 * rng.normal(size=(N, 4))


@pytest.fixture
def inputs(rng, make_artifact, make_sequences):
    """Items 1..48 occur in training, 49..60 in no part of it; behaviour knows other kinds than text."""
    users = [np.flatnonzero(OTHER_KIND[:TRAINED] == kind) + 1 for kind in range(4)]
    users = [[*user, *user, 49, 50] for user in users]
    trained = noisy(OTHER_KIND, rng)
    trained[TRAINED:] = 30 * rng.normal(size=(N - TRAINED, 4))  # what a random start leaves in rows nobody trained
    return {
        "sequences": make_sequences(users, n_items=N),
        "embed": make_artifact("embed", table=padded(noisy(TEXT_KIND, rng))),
        "plain": make_artifact("plain", item_table=padded(trained)),
    }


def run(step, inputs, out):
    step.run({name: inputs[name] for name in step.inputs}, out)
    return np.load(out / "codes.npy"), json.loads((out / "sizes.json").read_text())["sizes"]


def same(codes: np.ndarray, kind: np.ndarray, items: slice) -> float:
    """Share of the pairs of items of one kind that have the same first code."""
    codes, kind = codes[1:-1][items, 0], kind[items]
    pairs = (kind[:, None] == kind) & ~np.eye(len(kind), dtype=bool)
    return float((codes[:, None] == codes)[pairs].mean())


SETTINGS = {
    "convergence": Tokens(SMALL),
    "collaborative": Tokens(ResidualKMeans(2, 8, pull=0.0)),
    "letter": Tokens(SMALL, source="text"),
    "tiger": Tokens(SMALL, source="text", collaborative=None, collisions="suffix"),
    "balanced": Tokens(SMALL, balance=Balanced()),
    "rq_vae": Tokens(ResidualVAE(2, 8, hidden=[8], trainer=trainer_settings(max_epochs=3, accelerator="cpu"))),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_what_is_written(name, inputs, out) -> None:
    codes, sizes = run(SETTINGS[name], inputs, out)
    assert codes.dtype == np.int32
    assert codes.shape == (N + 2, len(sizes))
    assert (codes[[0, -1]] == -1).all()
    real = codes[1:-1]
    assert real.min() >= 0
    assert (real.max(axis=0) < sizes).all()
    assert (group_sizes(real) == 1).all()
    assert sizes[:2] == [8, 8]
    assert len(sizes) == 2 or sizes[2] == real[:, 2].max() + 1 > 1
    books = np.load(out / "codebooks.npy")
    assert books.shape[:2] == (2, 8)
    assert books.dtype == np.float32
    report = json.loads((out / "report.json").read_text())
    assert report["items"] == {"all": N, "head": 48, "tail": 12, "unseen": 12}
    assert [level["codes"] for level in report["levels"]] == sizes
    assert report["collisions"]["final"]["items"] == 0
    assert set(report["neighbours"]) == {"text"} | ({"collaborative"} if name != "tiger" else set())


@pytest.mark.parametrize("name", SETTINGS)
def test_two_runs_write_the_same(name, inputs, out, tmp_path) -> None:
    (tmp_path / "again").mkdir()
    for folder in (out, tmp_path / "again"):
        run(SETTINGS[name], inputs, folder)
    for file in out.iterdir():
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes(), file.name


def test_codes_follow_the_source_and_are_pulled_towards_the_target(inputs, tmp_path) -> None:
    """Pairs of one kind that share the first code: by text, by behaviour, of items that were trained on."""
    seen, shares = slice(0, TRAINED), {}
    for name, step in {
        "text": SETTINGS["tiger"],
        "text, pulled": Tokens(ResidualKMeans(1, 4, pull=1.0), source="text", pivot=0),
        "behaviour": Tokens(ResidualKMeans(1, 4, pull=0.0), pivot=0),
        "behaviour, pulled": Tokens(ResidualKMeans(1, 16, pull=1.0), pivot=0),
    }.items():
        (tmp_path / name).mkdir()
        codes, _ = run(step, inputs, tmp_path / name)
        shares[name] = same(codes, TEXT_KIND, seen), same(codes, OTHER_KIND, seen)
    assert shares["text"][0] > 0.4 > 0.2 > shares["text"][1] - shares["text"][0] / 4
    assert shares["behaviour"][1] > 0.9
    assert shares["behaviour"][0] < 0.3
    both = 4 * TEXT_KIND + OTHER_KIND
    pulled = np.load(tmp_path / "behaviour, pulled" / "codes.npy")
    assert same(pulled, both, seen) > 0.9  # 16 codes, one for each pair of kinds


@pytest.mark.parametrize("name", ["convergence", "collaborative", "letter", "rq_vae"])
def test_unseen_items_have_codes_from_their_text_alone(name, inputs, make_artifact, out, tmp_path) -> None:
    """What their rows of the trained table hold changes no item's codes."""
    table = inputs["plain"].array("item_table").copy()
    table[1 + TRAINED : -1] = -1e3
    (tmp_path / "other").mkdir()
    first, _ = run(SETTINGS[name], inputs, out)
    other = {**inputs, "plain": make_artifact("other_plain", item_table=table)}
    np.testing.assert_array_equal(first, run(SETTINGS[name], other, tmp_path / "other")[0])


def test_unseen_items_join_the_trained_ones_that_their_text_resembles(rng, make_artifact, make_sequences, out) -> None:
    """Text and behaviour agree here, so text tells where an unseen item belongs; no pull, hence through the map alone."""
    users = [[*(np.flatnonzero(TEXT_KIND[:TRAINED] == kind) + 1)] * 3 for kind in range(4)]
    trained = noisy(TEXT_KIND, rng)
    trained[TRAINED:] = 30 * rng.normal(size=(N - TRAINED, 4))
    inputs = {
        "sequences": make_sequences([[*user, 1, 1] for user in users], n_items=N),
        "embed": make_artifact("embed", table=padded(noisy(TEXT_KIND, rng))),
        "plain": make_artifact("plain", item_table=padded(trained)),
    }
    codes, _ = run(Tokens(ResidualKMeans(1, 4, pull=0.0)), inputs, out)
    assert same(codes, TEXT_KIND, slice(0, N)) > 0.95


@pytest.mark.parametrize("source", ["collaborative", "text"])
def test_neighbours_share_codes_and_shuffled_codes_lose_them(source, inputs, out, rng) -> None:
    codes, _ = run(Tokens(ResidualKMeans(2, 4), source=source, pivot=0), inputs, out)
    found = json.loads((out / "report.json").read_text())["neighbours"][source]
    assert found["all"][0] > 2 * found["chance"][0]
    file = {"text": inputs["embed"].array("table"), "collaborative": inputs["plain"].array("item_table")}[source][1:-1]
    known = np.arange(N) < (TRAINED if source == "collaborative" else N)
    rows, everything = directions(file, known), {"all": np.ones(N, dtype=bool)}
    assert preservation(rows, codes[1:-1], everything)["all"] == pytest.approx(found["all"])
    mixed = preservation(rows, rng.permutation(codes[1:-1]), everything)
    assert mixed["all"][0] < found["all"][0] / 2


def test_kept_collisions_are_counted(inputs, make_artifact, out) -> None:
    twins = np.repeat(np.eye(4), 15, axis=0)
    codes, sizes = run(
        Tokens(ResidualKMeans(2, 4), source="text", collaborative=None, collisions="keep"),
        {**inputs, "embed": make_artifact("twins", table=padded(twins))},
        out,
    )
    assert sizes == [4, 4]
    assert (group_sizes(codes[1:-1]) == 15).all()
    assert json.loads((out / "report.json").read_text())["collisions"]["final"]["items"] == N


def test_twins_beyond_the_codes_get_a_suffix(inputs, make_artifact, out) -> None:
    twins = np.repeat(np.eye(4), 15, axis=0)
    codes, sizes = run(
        Tokens(ResidualKMeans(2, 4), source="text", collaborative=None),
        {**inputs, "embed": make_artifact("twins", table=padded(twins))},
        out,
    )
    assert sizes == [4, 4, 4]  # 15 items on four last codes: four parts
    assert (group_sizes(codes[1:-1]) == 1).all()


def test_items_without_text_get_codes_too(inputs, make_artifact, out) -> None:
    table = inputs["embed"].array("table").copy()
    table[[3, 49]] = 0  # one of them was trained on
    codes, _ = run(SETTINGS["convergence"], {**inputs, "embed": make_artifact("gaps", table=table)}, out)
    assert (group_sizes(codes[1:-1]) == 1).all()


def test_it_reads_what_its_settings_name() -> None:
    assert Tokens(SMALL).inputs == ("sequences", "embed", "plain")
    assert SETTINGS["tiger"].inputs == ("sequences", "embed")
    assert Tokens(SMALL, text="reduce", collaborative="align").inputs == ("sequences", "reduce", "align")


def test_what_decides_the_result_names_it(tmp_path, inputs) -> None:
    store = Store(tmp_path / "store")

    def key(step: Tokens) -> str:
        return store.key(step, inputs)

    first = key(Tokens(SMALL, pivot=5))
    assert first == key(Tokens(ResidualKMeans(2, 8, pull=0.5), pivot=5.0))
    other = [
        Tokens(SMALL, seed=1),
        Tokens(SMALL, source="text"),
        Tokens(SMALL, pivot=4),
        Tokens(SMALL, balance=Balanced()),
    ]
    other += [Tokens(ResidualKMeans(2, 8, pull=0.4)), Tokens(SMALL, collisions="keep")]
    assert len({first, *map(key, other)}) == 7
    vae = [
        Tokens(ResidualVAE(trainer=trainer_settings(max_epochs=200, accelerator=device))) for device in ("cpu", "auto")
    ]
    assert key(vae[0]) == key(vae[1])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"source": "image"}, r"source is 'image'.*choose from collaborative, text"),
        ({"collisions": "drop"}, r"collisions is 'drop'.*match, suffix, keep"),
        ({"collaborative": None}, "needs collaborative, the stage"),
        ({"pivot": -1.0}, "pivot is -1.0"),
    ],
)
def test_unknown_settings_are_refused(settings, message) -> None:
    with pytest.raises(ValueError, match=message):
        Tokens(SMALL, **settings)
