"""What the fake service is asked and says about interests."""

from typing import Any

from sage_pl.semantic.interests.openai import OpenAIDescriber
from tests.semantic.fake_service import Service

TEXTS = ["", "green tea", "black tea", "bike chain", "bike tyre", ""]


def sensible(messages: list[dict]) -> str:
    """One line per group: the first word of its first item."""
    lines = messages[0]["content"].splitlines()
    return "\n".join(f"likes {lines[i + 1][2:].split()[0]}" for i, line in enumerate(lines) if line.startswith("Group"))


def described(service: Service, body: dict) -> Any:
    answer = service.answer(body["messages"])
    return {"choices": [{"message": {"content": answer}}]} if isinstance(answer, str) else answer


def describer(service: Service, **settings) -> OpenAIDescriber:
    return OpenAIDescriber("tiny", service.url, **{"concurrency": 2, **settings})


def many(n: int) -> list[list[list[int]]]:
    """Users without two alike."""
    return [[[1 + (i >> bit & 1) + 2 * (bit % 2) for bit in range(10)]] for i in range(n)]
