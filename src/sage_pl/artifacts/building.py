"""The order of steps, and their results made in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

from sage_pl.artifacts.store import Artifact, ArtifactError, Step, Store


def closure(inputs: Mapping[str, Iterable[str]], names: Iterable[str]) -> list[str]:
    """Some steps and all that they depend on, parents first.

    Args:
        inputs: for every step, the names of those it reads.
        names: the steps whose results are needed.

    Raises:
        ArtifactError: a name is unknown or the steps depend on each other in a circle.
    """
    order: list[str] = []

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in order:
            return
        if name in path:
            raise ArtifactError(f"steps depend on each other in a circle: {' -> '.join((*path, name))}")
        if name not in inputs:
            child = f" (an input of {path[-1]})" if path else ""
            raise ArtifactError(f"no step is called {name!r}{child}; known steps: {', '.join(inputs)}")
        for parent in inputs[name]:
            visit(parent, (*path, name))
        order.append(name)

    for name in names:
        visit(name, ())
    return order


def build(
    steps: Mapping[str, Step],
    names: Iterable[str],
    store: Store,
    opened: Mapping[str, Artifact] | None = None,
    around: Callable[[Sequence[str]], AbstractContextManager[object]] = nullcontext,
) -> dict[str, Artifact]:
    """Results of some steps and of all that they depend on, each computed once, parents first.

    Args:
        steps: every step that may be needed, by name.
        names: the steps whose results are needed.
        store: the cache.
        opened: results that are used as they are, whatever the steps would give.
        around: makes a context for the work on a step, of the names of all steps that it depends on and its own.

    Raises:
        ArtifactError: a name is unknown or the steps depend on each other in a circle.
    """
    artifacts: dict[str, Artifact] = dict(opened or {})
    inputs = {name: step.inputs for name, step in steps.items()} | dict.fromkeys(artifacts, ())
    for name in closure(inputs, names):
        if name not in artifacts:
            with around(closure(inputs, [name])):
                artifacts[name] = store.get(steps[name], artifacts)
    return artifacts
