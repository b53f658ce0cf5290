from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from sage_pl.data.frequency import equal_mass_buckets
from sage_pl.data.loader import load_sequences
from sage_pl.nn.item_encoders.gates import ContinuousGate, FrequencyGate, SharedGate, UniformGate
from tests.golden.prepared import write_sequences

N = 22
NAMES = ("aligned", "id", "text")
LAUNCHED = {"id": [1.0, 0.0], "aligned": [-4.0, -5.0], "text": [0.0, 1.0]}
PARSER = {**LAUNCHED, "aligned": [0.2, -0.8]}


@pytest.fixture
def sequences(tmp_path: Path) -> str:
    """Items 1..20 occur twice each, 21 and 22 never: ten buckets of two items, the last one of four."""
    return write_sequences(tmp_path / "sequences", [[item, item] for item in range(1, 21)], N)


@pytest.fixture
def gates(sequences: str) -> dict[str, Callable[..., nn.Module]]:
    return {
        "frequency": lambda names: FrequencyGate(names, sequences, LAUNCHED),
        "zero bucket": lambda names: FrequencyGate(names, sequences, LAUNCHED, zero_bucket=True),
        "unseen": lambda names: FrequencyGate(names, sequences, LAUNCHED, unseen=["text"]),
        "continuous": lambda names: ContinuousGate(names, sequences),
        "shared": lambda names: SharedGate(names, {"id": 1.0, "aligned": -4.0, "text": 0.0}),
        "uniform": UniformGate,
    }


def first_of_bucket(bucket: int) -> int:
    return 2 * bucket - 1


@pytest.mark.parametrize(
    ("starts", "table"),
    [
        (LAUNCHED, {1: (0.568, 0.013, 0.419), 5: (0.496, 0.009, 0.496), 10: (0.404, 0.005, 0.591)}),
        (PARSER, {1: (0.404, 0.298, 0.298), 5: (0.373, 0.255, 0.373), 10: (0.324, 0.201, 0.474)}),
    ],
    ids=["launch script", "parser default"],
)
def test_the_published_shares_at_the_start(
    starts: dict[str, list[float]], table: dict[int, tuple[float, float, float]], sequences: str
) -> None:
    gate = FrequencyGate(("id", "aligned", "text"), sequences, starts)
    for bucket, shares in table.items():
        assert gate(torch.tensor([first_of_bucket(bucket)]))[0].tolist() == pytest.approx(shares, abs=5.1e-4)


def test_columns_follow_the_names(sequences: str) -> None:
    ids = torch.arange(N + 2)
    plain = FrequencyGate(("id", "aligned", "text"), sequences, LAUNCHED)(ids)
    other = FrequencyGate(("text", "id", "aligned"), sequences, LAUNCHED)(ids)
    torch.testing.assert_close(other, plain[:, [2, 0, 1]])
    two = FrequencyGate(("text", "id"), sequences, LAUNCHED)(ids)
    torch.testing.assert_close(two, plain[:, [2, 0]] / plain[:, [2, 0]].sum(1, keepdim=True))


@pytest.mark.parametrize("kind", ["frequency", "zero bucket", "unseen", "continuous", "shared", "uniform"])
@pytest.mark.parametrize("names", [NAMES, ("id",)], ids=["three", "one"])
def test_shares_sum_to_one_for_ids_of_any_shape(kind: str, names: tuple[str, ...], gates: dict[str, Any]) -> None:
    torch.manual_seed(0)
    gate = gates[kind](names)
    for parameter in gate.parameters():
        nn.init.normal_(parameter, std=3)
    for shape in ((N + 2,), (2, (N + 2) // 2)):
        shares = gate(torch.arange(N + 2).reshape(shape))
        assert shares.shape == (*shape, len(names))
        assert shares.dtype == torch.float32
        assert (shares >= 0).all()
        torch.testing.assert_close(shares.sum(-1), torch.ones(shape))


def test_shares_are_defined_where_every_sigmoid_vanishes() -> None:
    shares = SharedGate(("a", "b"), {"a": -300.0, "b": -300.0})(torch.tensor([1]))
    assert shares.tolist() == [[0.5, 0.5]]


def test_a_bucket_learns_from_its_own_items_alone(sequences: str) -> None:
    gate = FrequencyGate(NAMES, sequences, LAUNCHED)
    gate(torch.tensor([first_of_bucket(3)]))[:, 0].sum().backward()
    assert gate.theta.grad is not None
    assert gate.theta.grad.any(1).nonzero().flatten().tolist() == [3]


def test_items_never_trained_have_their_own_row_where_wanted(sequences: str) -> None:
    counts = load_sequences(sequences).train_counts
    for zero_bucket, bucket in ((False, 10), (True, 11)):
        gate = FrequencyGate(NAMES, sequences, LAUNCHED, zero_bucket=zero_bucket)
        assert gate.theta.shape == (bucket + 1, 3)
        assert gate.buckets.tolist() == equal_mass_buckets(counts, 10, zero_bucket).tolist()
        assert gate.buckets[[0, 21, 22, N + 1]].tolist() == [0, bucket, bucket, 0]
        torch.testing.assert_close(gate(torch.tensor([20])), gate(torch.tensor([22])))


def test_held_out_events_do_not_count(tmp_path: Path) -> None:
    users = [[1, 1, 1, 2, 2, 3]]  # trained: 1 1 1 2
    more = [[1, 1, 1, 2, 4, 5]]
    starts = {"id": [1.0, 0.0], "text": [0.0, 1.0]}
    made = [
        FrequencyGate(("id", "text"), write_sequences(tmp_path / str(i), given, 5), starts, n_buckets=2).buckets
        for i, given in enumerate((users, more))
    ]
    assert made[0].tolist() == made[1].tolist() == [0, 1, 2, 2, 2, 2, 0]


def test_the_continuous_gate_knows_the_frequency_alone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    sequences = write_sequences(tmp_path / "sequences", [[1, 1], [1, 2], [3, 2], [4, 1]], 5)  # counts 4 2 1 1 0
    gate = ContinuousGate(NAMES, sequences, temperature=2.0)
    expected = torch.tensor([0, 4, 2, 1, 1, 0, 0]).float().log1p() / torch.tensor(5.0).log()
    torch.testing.assert_close(gate.frequency, expected)
    shares = gate(torch.arange(7))
    assert torch.equal(shares[3], shares[4])
    assert not torch.equal(shares[1], shares[2])
    logits: Tensor = gate.network(expected[1:2, None])[0]
    torch.testing.assert_close(shares[1], torch.softmax(logits / 2, 0))
    shares[1, 0].backward()
    assert all(p.grad is not None and p.grad.any() for p in gate.network[-1].parameters())


@pytest.mark.parametrize("kind", ["frequency", "zero bucket", "continuous"])
def test_what_follows_from_the_data_is_no_part_of_the_checkpoint(kind: str, gates: dict[str, Any]) -> None:
    gate = gates[kind](NAMES)
    assert gate.state_dict().keys() == dict(gate.named_parameters()).keys()


def test_a_missing_or_odd_start_is_refused(sequences: str) -> None:
    with pytest.raises(ValueError, match=r"no start for the expert other.*gate\.starts\.other"):
        FrequencyGate(("id", "other"), sequences, LAUNCHED)
    with pytest.raises(ValueError, match="no start for the expert other"):
        SharedGate(("other",), {"id": 1})
    with pytest.raises(ValueError, match="names the expert txt, and the gate knows id, aligned, text"):
        FrequencyGate(NAMES, sequences, LAUNCHED, unseen=["txt"])
    with pytest.raises(ValueError, match=r"start of the gate is \[1\], wanted two numbers"):
        FrequencyGate(("id",), sequences, {"id": [1]})


def test_a_temperature_that_is_not_positive_is_refused(sequences: str) -> None:
    with pytest.raises(ValueError, match="temperature is 0"):
        ContinuousGate(NAMES, sequences, temperature=0.0)


@pytest.mark.parametrize("zero_bucket", [False, True])
@pytest.mark.parametrize("unseen", [None, ["text"], ["text", "aligned"]])
def test_experts_without_a_share_of_items_without_training_events(
    unseen: list[str] | None, zero_bucket: bool, sequences: str
) -> None:
    gate = FrequencyGate(NAMES, sequences, LAUNCHED, zero_bucket=zero_bucket, unseen=unseen)
    published = FrequencyGate(NAMES, sequences, LAUNCHED, zero_bucket=zero_bucket)
    ids = torch.arange(N + 2)
    torch.testing.assert_close(gate(ids[:21]), published(ids[:21]))
    scoring = [name in (unseen or NAMES) for name in NAMES]
    if not any(scoring):
        scoring = [True] * len(NAMES)
    expected = published(ids[21:23]) * torch.tensor(scoring)
    torch.testing.assert_close(gate(ids[21:23]), expected / expected.sum(1, keepdim=True))
    if unseen is None:
        assert gate(ids[21:23])[:, NAMES.index("id")].tolist() == pytest.approx([0.404] * 2, abs=1e-3)


@pytest.mark.parametrize("kind", ["continuous", "shared", "uniform"])
def test_every_gate_can_leave_unseen_items_to_the_text_expert(kind: str, sequences: str) -> None:
    gates: dict[str, Callable[..., nn.Module]] = {
        "continuous": lambda **more: ContinuousGate(NAMES, sequences, **more),
        "shared": lambda **more: SharedGate(NAMES, {"id": 1.0, "aligned": -4.0, "text": 0.0}, sequences, **more),
        "uniform": lambda **more: UniformGate(NAMES, sequences, **more),
    }
    shares = []
    for unseen in (None, ["text"]):
        torch.manual_seed(0)
        shares.append(gates[kind](unseen=unseen)(torch.arange(N + 2)))
    torch.testing.assert_close(shares[1][:21], shares[0][:21])
    assert (shares[0] > 0).all(), "the published form"
    assert shares[1][21:23].tolist() == [[0.0, 0.0, 1.0]] * 2


def test_every_expert_of_pad_starts_with_a_share_that_it_is_heard_with(sequences: str) -> None:
    """The reference's launch script leaves the aligned expert at 1 %, whatever aligns it."""
    starts = OmegaConf.load("conf/item_encoder/gate/frequency.yaml").starts
    gate, launched = (FrequencyGate(NAMES, sequences, start)(torch.arange(1, 21)) for start in (starts, LAUNCHED))
    assert gate.min() > 0.03
    assert gate[:, NAMES.index("aligned")].max() < 0.1  # at a quarter the mixture loses
    assert launched[:, NAMES.index("aligned")].max() < 0.02
