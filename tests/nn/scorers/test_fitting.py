"""The weights by which one of several candidates is chosen: the optimum, its priors, its groups."""

from __future__ import annotations

import torch
from scipy.optimize import minimize
from torch import Tensor

from sage_pl.nn.scorers.fitting import fitted

K, C, F, G = 60, 7, 3, 2


def choices(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(K, C, F, generator=generator, dtype=torch.float64)
    groups = torch.randint(G, (K, C), generator=generator)
    real = torch.rand(K, C, generator=generator) > 0.2
    real[:, 0] = True
    return features, groups, real, torch.zeros(K, dtype=torch.long)


def test_it_is_the_optimum_of_the_formula() -> None:
    features, groups, real, answers = choices()
    prior = torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64)

    def loss(flat: list[float]) -> float:
        shared, apart, bias = flat[:F], [flat[F : 2 * F], flat[2 * F : 3 * F]], flat[3 * F :]
        value = sum((s - float(p)) ** 2 for s, p in zip(shared, prior, strict=True)) / 2
        value += sum(a * a for row in apart for a in row) / (2 * 0.5**2) + sum(b * b for b in bias) / (2 * 1.5**2)
        for k in range(K):
            scores = []
            for c in range(C):
                g = int(groups[k, c])
                score = bias[g] + sum((shared[f] + apart[g][f]) * float(features[k, c, f]) for f in range(F))
                if real[k, c]:
                    scores.append(score)
            value -= scores[0] - float(torch.tensor(scores, dtype=torch.float64).logsumexp(0))
        return value

    best = minimize(loss, [0.0] * (3 * F + G), method="BFGS").x
    weights = fitted(features, groups, real, answers, prior, G)
    for group in range(G):
        expected = [best[f] + best[F + group * F + f] for f in range(F)] + [best[3 * F + group]]
        torch.testing.assert_close(weights[group], torch.tensor(expected), atol=2e-3, rtol=0)


def test_without_cases_the_prior_remains() -> None:
    features, groups, real, answers = choices()
    prior = torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64)
    weights = fitted(features[:0], groups[:0], real[:0], answers[:0], prior, G)
    assert torch.equal(weights, torch.cat([prior, torch.zeros(1)]).repeat(G, 1))


def test_a_group_without_candidates_has_the_weights_of_all() -> None:
    features, groups, real, answers = choices()
    weights = fitted(features, groups, real, answers, torch.zeros(F, dtype=torch.float64), G + 1)
    assert weights[G, -1] == 0
    assert weights[:G, 0].min() <= weights[G, 0] <= weights[:G, 0].max()


def test_what_is_no_candidate_changes_nothing() -> None:
    features, groups, real, answers = choices()
    prior = torch.zeros(F, dtype=torch.float64)
    expected = fitted(features, groups, real, answers, prior, G)
    other = features.where(real[:, :, None], 1e3)
    assert torch.equal(fitted(other, groups, real, answers, prior, G), expected)


def test_it_can_be_called_within_inference() -> None:
    with torch.inference_mode():
        features, groups, real, answers = choices()
        assert fitted(features, groups, real, answers, torch.zeros(F, dtype=torch.float64), G).isfinite().all()
