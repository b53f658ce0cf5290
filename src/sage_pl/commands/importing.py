"""Commands imported without what they do not use."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from sage_pl.runs.checks import own_packages

_OF_OTHER_METRICS = frozenset({"matplotlib", "scipy", "transformers"})


def command_module(name: str) -> ModuleType:
    """The module of a command.

    Lightning imports torchmetrics, which imports transformers, matplotlib and scipy.signal for its metrics of texts, pictures
    and sound: half the time of importing Lightning. No part of this project has such a metric. A user's own packages may, and
    then everything is imported.
    """
    if own_packages():
        return importlib.import_module(name)
    with _seen_as_absent(_OF_OTHER_METRICS):
        return importlib.import_module(name)


@contextmanager
def _seen_as_absent(packages: frozenset[str]) -> Iterator[None]:
    """Within it, Lightning's questions whether these packages are installed are answered no; imports work as ever."""
    from lightning_utilities.core import imports

    available, met = imports.package_available, imports.RequirementCache.__bool__

    def is_met(requirement: imports.RequirementCache) -> bool:
        name = re.match(r"[\w-]*", requirement.requirement or requirement.module or "")
        return (name is None or name[0] not in packages) and met(requirement)

    imports.package_available = lambda name: name not in packages and available(name)  # type: ignore
    imports.RequirementCache.__bool__ = is_met  # type: ignore
    try:
        yield
    finally:
        imports.package_available, imports.RequirementCache.__bool__ = available, met  # type: ignore
