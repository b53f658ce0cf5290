"""The tiny artifacts of the semantic steps' tests."""

from tests.semantic.conftest import make_artifact, make_sequences, out

__all__ = ["make_artifact", "make_sequences", "out"]
