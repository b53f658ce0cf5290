from collections.abc import Iterator

import pytest

from tests.semantic.fake_service import KEY, Service, running
from tests.semantic.interests.chat import described, sensible


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that would have been waited."""
    waited: list[float] = []
    monkeypatch.setattr("sage_pl.semantic.language_models.service.time.sleep", waited.append)
    return waited


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch, pauses: list[float]) -> Iterator[Service]:
    """A service that describes interests."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with running(described, "/v1", retry_after="7") as server:
        server.answer = sensible
        yield server
