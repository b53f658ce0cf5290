"""The contract of describers of interests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, Protocol

Groups = Sequence[Sequence[int]]
"""One user's items, group by group, oldest first."""


class Describer(Protocol):
    """Describes a user's groups of items in words."""

    libraries: ClassVar[tuple[str, ...]]
    stores_answers: ClassVar[bool]  # True: answers are slow or paid, and are stored user by user

    def describe(self, texts: Sequence[str], users: Sequence[Groups]) -> Iterator[tuple[int, list[str] | None]]:
        """One phrase per group of each row of ``users``, each row once, in any order, as they arrive.

        Args:
            texts: by item id, [N + 2]; "" for padding, the mask token and items without training events.
            users: with at least one group each.

        Yields:
            A row and its phrases; None for unusable answers.
        """
        ...
