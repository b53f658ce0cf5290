"""What every describer of interests can do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, Protocol

Groups = Sequence[Sequence[int]]
"""One user's items, group by group, oldest first."""


class Describer(Protocol):
    """Puts a user's groups of items into words."""

    libraries: ClassVar[tuple[str, ...]]
    remembered: ClassVar[bool]  # True: answers are slow or paid for, and are kept user by user

    def describe(self, texts: Sequence[str], users: Sequence[Groups]) -> Iterator[tuple[int, list[str] | None]]:
        """Rows of ``users`` with one phrase per group, each row once, in any order, as they are found.

        Args:
            texts: by item id, [N + 2]; "" for what must not be seen (padding, mask token, items without training events).
            users: with at least one group each.

        Yields:
            A row and its phrases; None for the phrases where the answers were of no use.
        """
        ...
