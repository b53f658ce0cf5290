"""The hand-made sequences of the evaluation's tests."""

from tests.evaluation.conftest import make_sequences, random_sequences, sequences

__all__ = ["make_sequences", "random_sequences", "sequences"]
