import numpy as np
import polars as pl
import pytest
import torch

from sage_pl.semantic.tokenizer import module
from sage_pl.semantic.tokenizer.module import Snapshot, pareto_front, revive
from sage_pl.semantic.tokenizer.report import item_groups, preservation, relative_error
from sage_pl.semantic.tokenizer.residual import decoded, residual_codes
from sage_pl.semantic.tokenizer.rq_vae import ResidualVAE, Training
from sage_pl.semantic.tokenizer.vae import ResidualAutoencoder
from sage_pl.semantic.tokenizer.views import Views
from sage_pl.semantic.trainers import trainer_settings

SMALL = {"levels": 2, "codes": 8, "width": 4, "hidden": [16]}


def epochs(n: int):
    return trainer_settings(max_epochs=n, accelerator="cpu")


SHORT = {"training": Training(batch_size=60, lr=0.01), "trainer": epochs(50)}
EVERYTHING = item_groups(np.ones(120, dtype=int))


@pytest.fixture
def planted(rng) -> Views:
    """Eight kinds of 15 items; the target has other kinds, which cut across them."""
    kinds, others = np.repeat(np.arange(8), 15), np.tile(np.arange(5), 24)
    source = np.eye(8)[kinds] + 0.05 * rng.normal(size=(120, 8))
    target = np.eye(5)[others] + 0.05 * rng.normal(size=(120, 5))
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (source, target)]
    return Views(unit[0], unit[1], np.ones(120))


def test_kinds_of_items_get_codes_of_their_own(planted) -> None:
    found = ResidualVAE(**SMALL, pull=0.0, **SHORT).fit(planted, seed=0)
    codes, _ = residual_codes(*found)
    shares = preservation(planted.source, codes, EVERYTHING)
    assert shares["all"][0] > 0.9 > 3 * shares["chance"][0]
    assert relative_error(found.latent, decoded(codes, found.codebooks), EVERYTHING)["all"] < 0.1
    assert found.latent.shape == (120, 4)
    assert found.codebooks.shape == (2, 8, 4)


def test_a_strong_pull_takes_codes_towards_the_target(planted) -> None:
    """The source holds nothing of the target's kinds but what these columns add, faintly."""
    faint = np.hstack([planted.source, 0.3 * planted.target])
    given = Views(faint, planted.target, planted.trust)
    shares = {}
    for pull in (0.0, 10.0):
        settings = ResidualVAE(**SMALL, pull=pull, **SHORT)
        codes, _ = residual_codes(*settings.fit(given, seed=0))
        shares[pull] = preservation(planted.target, codes, EVERYTHING)["all"][0]
    assert shares[10.0] > 0.5 > 0.2 > shares[0.0]


def test_two_runs_agree_and_leave_the_global_generator_alone(planted) -> None:
    settings = ResidualVAE(**SMALL, trainer=epochs(3))
    torch.manual_seed(7)
    state = torch.get_rng_state()
    first, second, other = (settings.fit(planted, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.latent, second.latent)
    np.testing.assert_array_equal(first.codebooks, second.codebooks)
    assert (first.codebooks != other.codebooks).any()
    assert (torch.get_rng_state() == state).all()


@pytest.mark.parametrize("last", [3, 4, 5], ids="stopped at snapshot {}".format)
def test_an_interrupted_run_goes_on_as_if_nothing_had_happened(planted, tmp_path, monkeypatch, last) -> None:
    settings = ResidualVAE(**SMALL, training=Training(batch_size=50), trainer=epochs(6))
    whole = settings.fit(planted, seed=0)
    calls = []

    def counted(*given):
        calls.append(1)
        if len(calls) == last:
            raise InterruptedError
        return take_snapshot(*given)

    take_snapshot = module.take_snapshot
    monkeypatch.setattr(module, "take_snapshot", counted)
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(InterruptedError):
        settings.fit(planted, seed=0, out=out)
    resumed = settings.fit(planted, seed=0, out=out)
    assert len(calls) == 6 + 1
    np.testing.assert_array_equal(resumed.latent, whole.latent)
    np.testing.assert_array_equal(resumed.codebooks, whole.codebooks)
    assert pl.read_csv(out / "metrics.csv")["epoch"].to_list() == list(range(6))
    assert [file.name for file in tmp_path.iterdir()] == ["out"]


def test_fewest_collisions_among_good_reconstructions_by_hand() -> None:
    snapshots = [
        Snapshot(error, shared, {})
        for error, shared in [(1.5, 0.0), (1.01, 0.2), (1.0, 0.3), (1.015, 0.2), (1.02, 0.1)]
    ]
    kept = pareto_front(snapshots)
    assert [(one.error, one.collisions) for one in kept] == [(1.01, 0.2), (1.0, 0.3), (1.02, 0.1)]
    assert pareto_front([*kept, Snapshot(0.5, 0.9, {})])[0].error == 0.5  # the others are no longer within 2 %


def test_snapshots_choose_the_weights(planted, monkeypatch) -> None:
    """The second of three snapshots is made the one with fewest collisions; its weights are what is returned."""
    seen = []

    def fake(network, source):
        seen.append({name: value.clone() for name, value in network.state_dict().items()})
        return Snapshot(1.0, [0.5, 0.1, 0.4][len(seen) - 1], seen[-1])

    monkeypatch.setattr(module, "take_snapshot", fake)
    found = ResidualVAE(**SMALL, trainer=epochs(3)).fit(planted, seed=0)
    assert len(seen) == 3
    np.testing.assert_array_equal(found.codebooks, seen[1]["codebooks"].numpy())
    assert (seen[1]["codebooks"] != seen[2]["codebooks"]).any()


def test_unused_codes_are_put_on_residuals_and_used_ones_stay(planted) -> None:
    torch.manual_seed(0)
    network = ResidualAutoencoder(8, 4, [16], 2, 8, None)
    torch.nn.init.normal_(network.codebooks, std=100)
    source = torch.from_numpy(planted.source).float()
    used = torch.ones(2, 8)
    used[1, 3] = 0
    before = network.codebooks.detach().clone()
    revive(network, source, used, np.random.default_rng(0))
    changed = (network.codebooks != before).any(dim=2)
    assert changed.nonzero().tolist() == [[1, 3]]
    residuals = network(source).residuals[1]
    assert (residuals - network.codebooks[1, 3]).abs().sum(1).min() < 1e-5


def test_a_training_that_runs_out_of_time_ends_with_a_snapshot(planted) -> None:
    """The first of 20 would come after 5,000 epochs."""
    trainer = trainer_settings(max_epochs=100_000, accelerator="cpu", max_time={"seconds": 0.1})
    assert np.isfinite(ResidualVAE(**SMALL, trainer=trainer).fit(planted, seed=0).codebooks).all()


@pytest.mark.filterwarnings("ignore")
def test_a_training_that_explodes_is_named(planted) -> None:
    with pytest.raises(ValueError, match=r"error became infinite; set steps\.tokens\.quantiser\.training\.lr lower"):
        ResidualVAE(**SMALL, training=Training(lr=1e30), trainer=epochs(20)).fit(planted, seed=0)


@pytest.mark.parametrize(
    "setting", [{"levels": 0}, {"width": 0}, {"temperature": 0.0}, {"trainer": epochs(0)}], ids=str
)
def test_settings_out_of_range_are_refused(setting) -> None:
    with pytest.raises(ValueError, match="wants at least one level"):
        ResidualVAE(**setting)
