"""The examples of the docstrings, as doctests with frames and a model of the suite."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from pathlib import Path
from typing import Any

import pytest

import sage_pl.api

MODULES = [
    importlib.import_module(f"sage_pl.api.{module.name}") for module in pkgutil.iter_modules(sage_pl.api.__path__)
]
EXAMPLES = [
    test for module in MODULES for test in doctest.DocTestFinder(exclude_empty=True).find(module) if test.examples
]
OF_MODEL = [test for test in EXAMPLES if not test.name.endswith(("._text", ".metrics_table"))]


def runs(example: doctest.DocTest, names: dict[str, Any]) -> None:
    example.globs = {**example.globs, **names}
    results = doctest.DocTestRunner(verbose=False).run(example)
    assert results.attempted
    assert not results.failed


@pytest.mark.parametrize("example", [one for one in EXAMPLES if one not in OF_MODEL], ids=lambda one: one.name)
def test_an_example_of_a_function(example: doctest.DocTest) -> None:
    runs(example, {})


@pytest.mark.slow
@pytest.mark.parametrize("example", OF_MODEL, ids=lambda one: one.name)
def test_an_example_of_a_model(
    example: doctest.DocTest, namespace: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the commands' own outputs
    monkeypatch.setattr("rich.console.Console.print", lambda *_, **__: None)  # and their tables
    runs(example, namespace)
