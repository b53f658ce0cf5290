import numpy as np
import pytest
import torch

from sage_pl.semantic.tokenizer.vae import ResidualAutoencoder, evenness_loss, pulling_loss, quantisation_loss


@pytest.fixture
def network() -> ResidualAutoencoder:
    torch.manual_seed(0)
    made = ResidualAutoencoder(dim=6, width=3, hidden=[5], levels=3, codes=4, target_dim=2)
    torch.nn.init.normal_(made.codebooks)
    return made


def gradient(value: torch.Tensor, network: ResidualAutoencoder) -> dict[str, float]:
    """Largest gradient of every part."""
    network.zero_grad()
    value.backward()
    parts = {name.split(".")[0]: 0.0 for name, _ in network.named_parameters()}
    for name, weight in network.named_parameters():
        if weight.grad is not None:
            parts[name.split(".")[0]] = max(parts[name.split(".")[0]], float(weight.grad.abs().max()))
    return parts


def test_the_residual_identity(network) -> None:
    found = network(torch.randn(20, 6))
    books = network.codebooks
    rows = torch.stack([books[level][found.codes[:, level]] for level in range(3)])
    torch.testing.assert_close(found.chosen, rows)
    torch.testing.assert_close(found.quantised, rows.sum(0))
    torch.testing.assert_close(found.residuals[0], found.latent)
    torch.testing.assert_close(found.latent - found.quantised, found.residuals[2] - rows[2])
    for level in range(3):
        naive = ((found.residuals[level][:, None] - books[level]) ** 2).sum(-1).argmin(1)
        assert (found.codes[:, level] == naive).all()


def test_the_straight_through_gradient_is_exactly_one(network) -> None:
    found = network(torch.randn(20, 6))
    torch.testing.assert_close(found.through, found.quantised)
    weights = torch.randn(20, 3)
    through = torch.autograd.grad((found.through * weights).sum(), found.latent)[0]
    torch.testing.assert_close(through, weights)


def test_the_commitment_of_every_level_reaches_the_encoder(network) -> None:
    found = network(torch.randn(20, 6))
    for level in range(3):
        loss = quantisation_loss(found.residuals[level : level + 1], found.chosen[level : level + 1].detach(), beta=1.0)
        latent, books = torch.autograd.grad(
            loss, (found.latent, network.codebooks), retain_graph=True, allow_unused=True
        )
        assert (latent.abs().sum(1) > 0).all()
        assert books is None  # nor does it move the rows of the levels before


def test_quantisation_loss_by_hand() -> None:
    residuals = torch.tensor([[[1.0, 3.0]], [[0.0, 2.0]]], requires_grad=True)  # T = 2, one item, e = 2
    chosen = torch.tensor([[[0.0, 1.0]], [[0.0, 0.0]]], requires_grad=True)
    loss = quantisation_loss(residuals, chosen, beta=0.25)
    each = ((1 + 4) / 2 + (0 + 4) / 2) / 2
    assert loss.item() == pytest.approx(1.25 * each)
    loss.backward()
    difference = (residuals - chosen).detach()
    torch.testing.assert_close(chosen.grad, -2 * difference / 4)
    torch.testing.assert_close(residuals.grad, 0.25 * 2 * difference / 4)


def test_which_term_moves_what(network) -> None:
    x = torch.randn(20, 6)
    found = network(x)
    moved = gradient((network.decoder(found.through) - x).square().mean(), network)
    assert (moved["encoder"] > 0, moved["decoder"] > 0, moved["codebooks"], moved["projection"]) == (True, True, 0, 0)
    found = network(x)
    pulled = gradient(pulling_loss(network.projection(found.through), torch.randn(20, 2), torch.ones(20), 0.1), network)
    assert (pulled["encoder"] > 0, pulled["projection"] > 0, pulled["codebooks"], pulled["decoder"]) == (
        True,
        True,
        0,
        0,
    )
    evened = gradient(evenness_loss(network(x).residuals, network.codebooks), network)
    assert (evened["codebooks"] > 0, evened["encoder"]) == (True, 0)


def test_pulling_loss_by_hand() -> None:
    """Lengths do not matter; scores are cosines over the temperature, here 1 and 0 over 1/2."""
    projected, target = torch.tensor([[2.0, 0], [0, 1]]), torch.tensor([[1.0, 0], [0, 5]])
    one = -np.log(np.exp(2) / (np.exp(2) + 1))
    for trust in ([1.0, 1.0], [0.3, 0.9]):
        assert pulling_loss(projected, target, torch.tensor(trust), 0.5).item() == pytest.approx(one)
    wrong = torch.tensor([[1.0, 0], [1, 0], [0, 1]])  # items 0 and 1 cannot be told apart, item 2 can
    scores = torch.tensor([[2.0, 2, 0], [0, 0, 2], [0, 0, 2]]) @ torch.eye(3)
    # rows: items' projections are e1, e2, e2; targets e1, e1, e2
    shared = torch.nn.functional.cross_entropy(scores, torch.arange(3), reduction="none")
    back = torch.nn.functional.cross_entropy(scores.T, torch.arange(3), reduction="none")
    trust = torch.tensor([1.0, 0.5, 0.25])
    wanted = ((shared + back) / 2 * trust).sum() / trust.sum()
    found = pulling_loss(torch.tensor([[1.0, 0], [0, 1], [0, 1]]), wrong, trust, 0.5)
    torch.testing.assert_close(found, wanted)


def test_items_of_no_trust_are_left_out_on_both_sides() -> None:
    torch.manual_seed(0)
    projected, target = torch.randn(6, 4, requires_grad=True), torch.randn(6, 4)
    trust = torch.tensor([1.0, 0, 0.5, 0, 0.2, 1])
    loss = pulling_loss(projected, target, trust, 0.1)
    kept = trust > 0
    torch.testing.assert_close(loss, pulling_loss(projected[kept], target[kept], trust[kept], 0.1))
    loss.backward()
    assert projected.grad[~kept].abs().max() == 0
    assert projected.grad[kept].abs().min() > 0
    noise = torch.where(kept[:, None], target, torch.randn(6, 4) * 100)
    torch.testing.assert_close(pulling_loss(projected, noise, trust, 0.1), loss)
    order = torch.randperm(6)
    torch.testing.assert_close(pulling_loss(projected[order], target[order], trust[order], 0.1), loss)


@pytest.mark.parametrize("trusted", [0, 1])
def test_nothing_to_tell_apart_costs_nothing(trusted) -> None:
    projected = torch.randn(3, 4, requires_grad=True)
    loss = pulling_loss(projected, torch.randn(3, 4), torch.tensor([1.0] * trusted + [0.0] * (3 - trusted)), 0.1)
    loss.backward()
    assert loss.item() == 0
    assert projected.grad.abs().max() == 0


def test_evenness_by_hand() -> None:
    """Items on one code want it alone; items halfway between want both alike."""
    book = torch.tensor([[[0.0], [4.0]]])
    halfway = evenness_loss(torch.tensor([[[2.0], [2.0]]]), book)
    assert halfway.item() == pytest.approx(-np.log(2))
    assert evenness_loss(torch.tensor([[[0.0], [4.0]]]), book).item() == pytest.approx(-np.log(2), abs=1e-4)
    near, far = 1.9**2, 2.1**2
    share = 1 / (1 + np.exp((near - far) / (0.1 * (near + far) / 2)))  # of the nearer code, for items at 1.9
    found = evenness_loss(torch.full((1, 3, 1), 1.9), book).item()
    assert found == pytest.approx(share * np.log(share) + (1 - share) * np.log(1 - share), rel=1e-4)


def test_evenness_is_finite_where_a_code_is_wanted_by_nobody() -> None:
    book = torch.tensor([[[0.0], [1.0], [1e4]]], requires_grad=True)
    loss = evenness_loss(torch.tensor([[[0.0], [1.0]]]), book)
    loss.backward()
    assert loss.isfinite()
    assert book.grad.isfinite().all()


def test_a_residual_on_a_code_has_a_finite_gradient(network) -> None:
    with torch.no_grad():
        network.codebooks[0, 0] = network.encoder(torch.ones(1, 6))[0]
    found = network(torch.ones(4, 6))
    loss = evenness_loss(found.residuals, network.codebooks) + quantisation_loss(found.residuals, found.chosen, 0.25)
    assert np.isfinite(list(gradient(loss, network).values())).all()
