"""Weights by which one of several candidates is chosen: a conditional logit with a weight per group of candidates."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

_SHARED, _GROUP, _BIAS = 1.0, 0.5, 1.5  # prior standard deviations
_ITERATIONS = 50


def fitted(
    features: Float[Tensor, "K C F"],
    groups: Int[Tensor, "K C"],
    real: Bool[Tensor, "K C"],
    answers: Int[Tensor, "K"],
    prior: Float[Tensor, "F"],
    n_groups: int,
) -> Float[Tensor, "G F+1"]:
    """The weights w of the candidates' features and the bias b, by group g, that maximise ::

        sum_k log softmax_c(w_g x_kc + b_g)[answer_k]
            - |s - prior|^2 / 2 - sum_g |w_g - s|^2 / (2 * 0.5^2) - sum_g b_g^2 / (2 * 1.5^2)

    so groups with few candidates keep the weights s of all, and without cases the prior remains. Convex; by L-BFGS.

    Args:
        features: x of C candidates of each of K choices.
        groups: in 0 .. n_groups - 1.
        real: False where there is no candidate.
        answers: the place of the candidate that was taken.
        prior: weights before any case is known.
        n_groups: G.

    Returns:
        ``[:, :-1]`` the weights, ``[:, -1]`` the biases.

    Source: McFadden's conditional logit (1974) with Gaussian priors.
    """
    with torch.inference_mode(False), torch.enable_grad():
        # tensors of inference cannot be differentiated
        x, group, is_real, at, prior = (one.clone() for one in (features, groups, real, answers, prior))
        shared = prior.clone().requires_grad_()
        apart = prior.new_zeros(n_groups, len(prior)).requires_grad_()
        bias = prior.new_zeros(n_groups).requires_grad_()
        optimizer = torch.optim.LBFGS([shared, apart, bias], max_iter=_ITERATIONS, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimizer.zero_grad()
            scores = ((shared + apart)[group] * x).sum(2) + bias[group]
            scores = scores.masked_fill(~is_real, -torch.inf)
            likelihood = scores.log_softmax(1).gather(1, at[:, None]).sum()
            penalty = (shared - prior).square().sum() / _SHARED**2 + apart.square().sum() / _GROUP**2
            value = (penalty + bias.square().sum() / _BIAS**2) / 2 - likelihood
            value = value / max(1, len(answers))
            value.backward()
            return value

        optimizer.step(loss)
        return torch.cat([shared + apart, bias[:, None]], dim=1).detach()
