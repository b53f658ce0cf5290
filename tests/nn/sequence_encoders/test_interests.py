"""Interests as a user's states: SAM, ComiRec, SINE and MIND over every backbone."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sage_pl.nn.backbones.none import NoBackbone
from sage_pl.nn.sequence_encoders.comirec import SelfAttentive
from sage_pl.nn.sequence_encoders.interest_queries import LearnedQueries, TextQueries
from sage_pl.nn.sequence_encoders.interests import InterestEncoder, Interests
from sage_pl.nn.sequence_encoders.mind import Capsules, shares_of, squash
from sage_pl.nn.sequence_encoders.sam import InterestAttention
from sage_pl.nn.sequence_encoders.sine import SparseInterests
from tests.golden import naive
from tests.golden.prepared import BACKBONES, make_backbone, normal, write

DIM, TEXT, LENGTH, MAX_LEN = 8, 6, 4, 11
COUNTS = [0, 2, 0, 3, 1]  # interests of user 0 (nobody), 1, 2, 3, 4
USERS = torch.tensor([1, 2, 3, 4])
ALL = (*BACKBONES, "none")
EXTRACTORS = ("sam", "learned", "comirec", "sine", "mind")


@pytest.fixture
def interests(tmp_path: Path) -> str:
    values = np.random.default_rng(0).normal(size=(sum(COUNTS), TEXT)).astype(np.float16)
    return write(tmp_path / "interests", values=values, offsets=np.concatenate([[0], np.cumsum(COUNTS)]))


def encoder_of(extractor: str, interests: str, backbone: str = "sasrec", **settings: Any) -> InterestEncoder:
    body = NoBackbone(DIM, 0.0) if backbone == "none" else make_backbone(backbone, DIM, MAX_LEN)
    torch.manual_seed(2)
    if extractor in ("sam", "learned"):
        queries = TextQueries(interests, 4, DIM) if extractor == "sam" else LearnedQueries(3, DIM)
        found: Any = InterestAttention(queries, DIM, MAX_LEN, layers=2, heads=2, dropout=0.0)
        found.position.table.weight.data *= 50
    elif extractor == "comirec":
        found = SelfAttentive(DIM, MAX_LEN, count=3)
        found.position.table.weight.data *= 50
    elif extractor == "mind":
        found = Capsules(DIM, MAX_LEN, count=3, adaptive=False)
    else:
        found = SparseInterests(DIM, concepts=7, count=3)
    encoder = InterestEncoder(body, found, **settings).double()
    if encoder.gamma is not None:
        encoder.gamma.data.fill_(0.7)
    return encoder


def given(n: int = 0, content: float = 0.0, rows: int = 4) -> tuple[dict[str, Tensor], Tensor, dict[str, Tensor]]:
    """Views, mask and batch of four users, with n paddings in front."""
    x = torch.cat([torch.full((rows, n, DIM), content).double(), normal(rows, LENGTH, DIM)], 1)
    mask = torch.ones(rows, n + LENGTH, dtype=torch.bool)
    mask[:, :n] = False
    return {"id": x}, mask, {"items": mask.long(), "user": USERS[:rows]}


@pytest.mark.parametrize("readout", ["mean", "attention", "max"])
@pytest.mark.parametrize("extractor", EXTRACTORS)
@pytest.mark.parametrize("backbone", ALL)
def test_a_user_is_the_same_alone_and_in_any_batch(backbone: str, extractor: str, readout: Any, interests: str) -> None:
    encoder = encoder_of(extractor, interests, backbone, readout=readout).eval()
    views, mask, batch = given()
    together = encoder(views, mask, batch, last_only=True)
    for row in range(4):
        one = {name: value[row : row + 1] for name, value in batch.items()}
        alone = encoder({"id": views["id"][row : row + 1]}, mask[row : row + 1], one, last_only=True)
        torch.testing.assert_close(alone[0], together[row], atol=1e-12, rtol=0)


@pytest.mark.parametrize("extractor", EXTRACTORS)
@pytest.mark.parametrize("backbone", ALL)
def test_padding_changes_nothing(backbone: str, extractor: str, interests: str) -> None:
    encoder = encoder_of(extractor, interests, backbone).eval()
    plain = encoder(*given())
    for n, content in ((2, 0.0), (5, 0.0), (2, 50.0)):
        torch.testing.assert_close(encoder(*given(n, content))[:, n:], plain, atol=1e-11, rtol=0)


@pytest.mark.parametrize("extractor", EXTRACTORS)
@pytest.mark.parametrize("backbone", ALL)
def test_a_row_of_padding_is_finite(backbone: str, extractor: str, interests: str) -> None:
    encoder = encoder_of(extractor, interests, backbone)
    views, mask, batch = given()
    mask[1:] = False
    views["id"].requires_grad_()
    states = encoder(views, mask, batch)
    assert states.isfinite().all()
    torch.testing.assert_close(states[0], encoder(*given())[0], atol=1e-12, rtol=0)
    states.square().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in encoder.parameters())
    assert views["id"].grad is not None
    assert not views["id"].grad[1:].any()


@pytest.mark.parametrize("readout", ["mean", "max"])
@pytest.mark.parametrize("extractor", EXTRACTORS)
def test_the_last_state_alone_is_the_last_of_all(extractor: str, readout: Any, interests: str) -> None:
    encoder = encoder_of(extractor, interests, readout=readout).eval()
    whole, last = encoder(*given(2)), encoder(*given(2), last_only=True)
    assert last.shape == (4, 1, *((3, DIM) if readout == "max" else (DIM,)))
    torch.testing.assert_close(last, whole[:, -1:], atol=1e-12, rtol=0)


@pytest.mark.parametrize("extractor", EXTRACTORS)
@pytest.mark.parametrize("backbone", ALL)
def test_only_the_last_state_differs_from_the_backbones(backbone: str, extractor: str, interests: str) -> None:
    encoder = encoder_of(extractor, interests, backbone).eval()
    views, mask, batch = given(1)
    states, plain = encoder(views, mask, batch), encoder.backbone(encoder.backbone.embed(views["id"], mask), mask)
    torch.testing.assert_close(states[:, :-1], plain[:, :-1], atol=1e-12, rtol=0)
    assert ((states[:, -1] - plain[:, -1]).abs().amax(-1) > 1e-3).all()
    encoder.gamma.data.zero_()
    assert torch.equal(encoder(views, mask, batch), plain)  # where it starts, it is the plain model


@pytest.mark.parametrize("readout", ["mean", "max"])
def test_what_knows_the_user_speaks_where_the_user_is_served_alone(readout: Any, interests: str) -> None:
    """Cloze has other rows of the same users, which predict items that the interests were made of."""
    encoder = encoder_of("sam", interests, "bert4rec", readout=readout).eval()
    views, mask, batch = given(rows=4)
    batch |= {"user": torch.tensor([1, 3]), "state_rows": torch.tensor([2, 3])}
    states, plain = encoder(views, mask, batch), encoder.backbone(encoder.backbone.embed(views["id"], mask), mask)
    if readout == "max":
        assert states.shape == (4, LENGTH, 3, DIM)
        plain = plain[:, :, None].expand(-1, -1, 3, -1)
    torch.testing.assert_close(states[:2], plain[:2], atol=1e-12, rtol=0)
    torch.testing.assert_close(states[:, :-1], plain[:, :-1], atol=1e-12, rtol=0)
    served = encoder({"id": views["id"][2:]}, mask[2:], {"items": batch["items"][2:], "user": batch["user"]})
    torch.testing.assert_close(states[2:, -1], served[:, -1], atol=1e-12, rtol=0)


def test_interests_of_others_never_matter(interests: str) -> None:
    encoder = encoder_of("sam", interests).eval()
    before = encoder(*given(), last_only=True)
    encoder.extractor.queries.interests.values[2:5] += 1  # user 3's
    after = encoder(*given(), last_only=True)
    assert (before != after).any(-1).flatten().tolist() == [False, False, True, False]


@pytest.mark.parametrize("gamma", [0.0, 1.0], ids=["published start", "heard"])
def test_anothers_interests_move_a_state_from_the_start(gamma: float, tmp_path: Path) -> None:
    """How far, in the spread of the states of different users."""
    n, text, dim = 40, 32, 16
    values = np.random.default_rng(0).normal(size=(2 * n, text)).astype(np.float32)
    folder = write(tmp_path / "many", values=values, offsets=np.concatenate([[0], np.arange(0, 2 * n + 1, 2)]))
    torch.manual_seed(0)
    attention = InterestAttention(TextQueries(folder, n, dim), dim, MAX_LEN, dropout=0.0)
    encoder = InterestEncoder(make_backbone("sasrec", dim, MAX_LEN), attention, gamma=gamma).double().eval()
    views, mask, users = {"id": normal(n, LENGTH, dim)}, torch.ones(n, LENGTH, dtype=torch.bool), torch.arange(1, n + 1)
    own, others = (
        encoder(views, mask, {"items": mask.long(), "user": ids}, last_only=True)[:, 0]
        for ids in (users, users.roll(1))
    )
    spread = (own - own.mean(0)).square().sum(1).mean().sqrt()
    moved = (own - others).square().sum(1).mean().sqrt() / spread
    assert moved == 0 if gamma == 0 else moved > 0.1
    # and with gamma = 0 nothing learns to: only gamma has a gradient
    encoder(views, mask, {"items": mask.long(), "user": users}, last_only=True).square().sum().backward()
    assert bool(attention.queries.project.weight.grad.any()) == (gamma != 0)


def test_a_new_user_asks_for_the_mean_of_the_history(interests: str) -> None:
    """The query of unknown users starts near zero."""
    attention = encoder_of("sam", interests).extractor
    attention.position.table.weight.data /= 50
    attention.blocks = torch.nn.ModuleList()
    states, mask = normal(2, LENGTH, DIM), torch.ones(2, LENGTH, dtype=torch.bool)
    vectors, shares = attention(states, mask, None)
    mean = naive.layer_norm(attention.norm, states.mean(1))
    torch.testing.assert_close(vectors[:, 0], mean, atol=0.1, rtol=0)
    assert shares[:, 0].tolist() == [1, 1]


def test_who_is_not_known_is_nobody(interests: str) -> None:
    encoder = encoder_of("sam", interests).eval()
    views, mask, batch = given()
    unknown = encoder(views, mask, {"items": batch["items"]}, last_only=True)
    for users in ([0, 0, 0, 0], [2, 2, 2, 2], [5, 99, 2, 0]):
        states = encoder(views, mask, {**batch, "user": torch.tensor(users)}, last_only=True)
        assert torch.equal(states, unknown)
    assert not torch.equal(encoder(views, mask, batch, last_only=True)[0], unknown[0])


def test_interest_attention_equals_plain_loops(interests: str) -> None:
    """User 3, who has three interests, and user 2, who has none."""
    attention = encoder_of("sam", interests).extractor
    states, mask = normal(2, LENGTH, DIM, seed=4), torch.ones(2, LENGTH, dtype=torch.bool)
    vectors, shares = attention(states, mask, torch.tensor([3, 2]))
    assert shares.tolist() == [[pytest.approx(1 / 3)] * 3, [1, 0, 0]]
    texts = attention.queries.interests.values[2:5]
    asked = [naive.linear(attention.queries.project, naive.layer_norm(attention.queries.norm, texts))]
    asked.append(attention.queries.nobody[None])
    for row, queries in enumerate(asked):
        keys = torch.stack([states[row, t] + attention.position.table.weight[LENGTH - 1 - t] for t in range(LENGTH)])
        z = []
        for query in queries:
            logits = torch.stack([query @ key / DIM**0.5 for key in keys])
            z.append((logits.softmax(0)[:, None] * states[row]).sum(0))
        z = torch.stack(z)
        for block in attention.blocks:
            n = naive.layer_norm(block.norm_attention, z)
            z = z + naive.attention(block.attention, n, n, lambda i, j: True)
            inner = naive.linear(block.feed_forward[0], naive.layer_norm(block.norm, z)).clamp(min=0)
            z = z + naive.linear(block.feed_forward[3], inner)
        torch.testing.assert_close(vectors[row, : len(z)], naive.layer_norm(attention.norm, z), atol=1e-10, rtol=0)


def test_readouts_by_hand(interests: str) -> None:
    last, vectors = normal(2, DIM, seed=1), normal(2, 3, DIM, seed=2)
    found = Interests(vectors, torch.tensor([[0.25, 0.75, 0], [1, 0, 0]], dtype=torch.float64))
    encoder = encoder_of("sam", interests, readout="mean", residual=False)
    torch.testing.assert_close(encoder._read(last, found)[0], 0.25 * vectors[0, 0] + 0.75 * vectors[0, 1])
    torch.testing.assert_close(encoder._read(last, found)[1], vectors[1, 0])
    encoder = encoder_of("sam", interests, readout="attention", residual=False)
    scores = vectors @ encoder.attention.weight[0]
    weights = scores[0, :2].exp() / scores[0, :2].exp().sum()
    torch.testing.assert_close(encoder._read(last, found)[0], weights[0] * vectors[0, 0] + weights[1] * vectors[0, 1])
    encoder = encoder_of("sam", interests, readout="max", residual=False)
    torch.testing.assert_close(encoder._read(last, found)[0], vectors[0, [0, 1, 0]])
    encoder = encoder_of("sam", interests, readout="max")
    torch.testing.assert_close(encoder._read(last, found)[0], last[0] + 0.7 * vectors[0, [0, 1, 0]])


@pytest.mark.parametrize("extractor", EXTRACTORS)
def test_gradient_reaches_every_trained_part_and_no_text(extractor: str, interests: str) -> None:
    encoder = encoder_of(extractor, interests)
    encoder(*given())[:, -1].square().sum().backward()
    idle = {name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.any()}
    assert not idle
    texts = [name for name, _ in encoder.named_buffers() if "queries" in name]
    assert len(texts) == (2 if extractor == "sam" else 0)
    assert not {*texts} & encoder.state_dict().keys()


def test_self_attentive_interests_equal_plain_loops() -> None:
    extractor: Any = encoder_of("comirec", "").extractor
    states = normal(1, LENGTH, DIM, seed=4)
    vectors, shares = extractor(states, torch.ones(1, LENGTH, dtype=torch.bool))
    assert shares.tolist() == [[pytest.approx(1 / 3)] * 3]
    for k in range(3):
        logits = []
        for t in range(LENGTH):
            x = states[0, t] + extractor.position.table.weight[LENGTH - 1 - t]
            logits.append(extractor.scores[2].weight[k] @ (extractor.scores[0].weight @ x).tanh())
        weights = torch.stack(logits).softmax(0)
        torch.testing.assert_close(vectors[0, k], (weights[:, None] * states[0]).sum(0), atol=1e-12, rtol=0)


def test_sparse_interests_equal_plain_loops() -> None:
    extractor: Any = encoder_of("sine", "").extractor
    x = normal(1, LENGTH, DIM, seed=4)
    vectors, shares = extractor(x, torch.ones(1, LENGTH, dtype=torch.bool))
    x = x[0]

    def attend(module: Any, k: int) -> Tensor:
        return torch.stack([(x[t] @ module.inner[:, k]).tanh() @ module.outer[k] for t in range(LENGTH)]).softmax(0)

    z = (attend(extractor.summary, 0)[:, None] * x).sum(0)
    suits = extractor.concepts @ z
    best = suits.argsort(descending=True)[:3]
    concepts = torch.stack([extractor.concepts[i] * suits[i].sigmoid() for i in best])
    normed = naive.layer_norm(extractor.norm_concepts, concepts)
    assignment = []
    for t in range(LENGTH):
        asked = extractor.assign.weight @ x[t]
        assignment.append((normed @ (asked / asked.norm())).softmax(0))
    interests = []
    for k in range(3):
        focus = attend(extractor.focus, k)
        interest = sum(assignment[t][k] * focus[t] * x[t] for t in range(LENGTH))
        interests.append(interest / interest.norm())
    torch.testing.assert_close(vectors[0], torch.stack(interests), atol=1e-12, rtol=0)
    meant = torch.stack([assignment[t] @ concepts for t in range(LENGTH)])
    weights = torch.stack(
        [extractor.intention.weight[0] @ (extractor.assign.weight @ y).tanh() for y in meant]
    ).softmax(0)
    intention = naive.layer_norm(extractor.norm_intention, (weights[:, None] * meant).sum(0))
    expected = torch.stack([interest @ intention / 0.1 for interest in interests]).softmax(0)
    torch.testing.assert_close(shares[0], expected, atol=1e-12, rtol=0)


def test_capsules_equal_plain_loops() -> None:
    torch.manual_seed(3)
    extractor = Capsules(DIM, MAX_LEN, count=3).double()
    states = 3 * normal(2, LENGTH, DIM, seed=4)
    mask = torch.tensor([[True] * LENGTH, [False] * (LENGTH - 1) + [True]])
    vectors, shares = extractor(states, mask)
    assert shares.tolist() == [[0.5, 0.5, 0], [1, 0, 0]], "log2 of four items is two, of one item it is none"
    for row, (times, capsules) in enumerate(((LENGTH, 2), (1, 1))):
        mapped = states[row, LENGTH - times :] @ extractor.map.weight.T
        logits = [[extractor.start[k, times - 1 - t].double() for t in range(times)] for k in range(capsules)]
        for _ in range(3):
            squashed = []
            for k in range(capsules):
                z = torch.zeros(DIM, dtype=torch.float64)
                for t in range(times):
                    total = sum(logits[j][t].exp() for j in range(capsules))
                    z = z + logits[k][t].exp() / total * mapped[t]
                squashed.append(z.norm() ** 2 / (1 + z.norm() ** 2) * z / z.norm())
            logits = [[logits[k][t] + squashed[k] @ mapped[t] for t in range(times)] for k in range(capsules)]
        for k in range(capsules):
            hidden = naive.linear(extractor.feed_forward[0], squashed[k]).clamp(min=0)
            expected = naive.linear(extractor.feed_forward[2], hidden)
            torch.testing.assert_close(vectors[row, k], expected, atol=1e-12, rtol=0)


def test_routing_by_hand() -> None:
    """Width 1, S = 1, one capsule: the sum of the items, squashed; its routing changes nothing."""
    extractor = Capsules(1, MAX_LEN, count=1)
    extractor.map.weight.data.fill_(1)
    mapped, all_real = torch.tensor([[[1.0], [2.0]]]), torch.ones(1, 2, dtype=torch.bool)
    capsule = extractor._route(mapped, all_real, torch.ones(1, 1, dtype=torch.bool))
    assert capsule.item() == pytest.approx(9 / 10)


def test_the_routing_before_the_last_iteration_has_no_gradient() -> None:
    extractor = Capsules(DIM, MAX_LEN, count=3).double()
    mapped, mask = normal(1, LENGTH, DIM).requires_grad_(), torch.ones(1, LENGTH, dtype=torch.bool)
    own = torch.ones(1, 3, dtype=torch.bool)
    extractor._route(mapped, mask, own).sum().backward()
    fixed = normal(1, LENGTH, DIM)
    logits = extractor.start[:, :LENGTH].flip(1).double()
    for _ in range(2):
        logits = logits + squash(shares_of(logits, mask, own) @ fixed) @ fixed.transpose(1, 2)
    again = normal(1, LENGTH, DIM).requires_grad_()
    squash(shares_of(logits, mask, own) @ again).sum().backward()
    assert mapped.grad is not None
    torch.testing.assert_close(mapped.grad, again.grad)


def test_what_cannot_work_is_refused(interests: str) -> None:
    with pytest.raises(ValueError, match=r"readout is 'sum', wanted one of mean, attention, max"):
        InterestEncoder(make_backbone("sasrec"), SelfAttentive(DIM), readout="sum")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="holds interests of 4 users, wanted 9"):
        TextQueries(interests, 9, DIM)
    with pytest.raises(ValueError, match=r"count=9 of concepts=7"):
        SparseInterests(DIM, concepts=7, count=9)


def test_nobody_has_interests(tmp_path: Path) -> None:
    folder = write(tmp_path / "none", values=np.zeros((0, TEXT), np.float16), offsets=np.zeros(4, np.int64))
    queries = TextQueries(folder, 2, DIM)
    found = queries(torch.tensor([1, 2]), 2)
    assert found.mask.tolist() == [[True], [True]]
    torch.testing.assert_close(found.vectors[0, 0], queries.nobody)


def test_the_mask_token_has_a_place_in_the_longest_history(interests: str) -> None:
    encoder = encoder_of("sam", interests, "bert4rec").eval()
    x, mask = normal(1, MAX_LEN + 1, DIM), torch.ones(1, MAX_LEN + 1, dtype=torch.bool)
    assert encoder({"id": x}, mask, {"items": mask.long(), "user": USERS[:1]}).isfinite().all()


@pytest.mark.parametrize("readout", ["mean", "max"])
@pytest.mark.parametrize("extractor", EXTRACTORS)
@pytest.mark.parametrize("backbone", ALL)
def test_mixed_precision(backbone: str, extractor: str, readout: Any, interests: str) -> None:
    encoder = encoder_of(extractor, interests, backbone, readout=readout).float()
    views, mask, batch = given(2)
    batch["state_rows"] = torch.arange(4)
    with torch.autocast("cpu", torch.bfloat16):
        states = encoder({"id": views["id"].float()}, mask, batch)
        states[:, -1].square().sum().backward()
    exact = encoder({"id": views["id"].float()}, mask, batch)
    torch.testing.assert_close(states.float(), exact, atol=0.3, rtol=0.1)
    assert all(p.grad is None or p.grad.isfinite().all() for p in encoder.parameters())


def test_a_model_can_be_read_either_way(interests: str) -> None:
    """What was trained on the nearest interest can be scored by the mean, and the other way round."""
    best, mean = (encoder_of("sam", interests, readout=readout).eval() for readout in ("max", "mean"))
    mean.load_state_dict(best.state_dict())
    several, one = best(*given(), last_only=True)[:, 0], mean(*given(), last_only=True)[:, 0]
    for row, count in enumerate((2, 1, 3, 1)):
        torch.testing.assert_close(several[row, :count].mean(0), one[row], atol=1e-6, rtol=0)  # shares are float32
