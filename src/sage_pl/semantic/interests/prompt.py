"""What a language model is asked, and how its answer is read."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

Message = dict[str, str]

VERSION = 1  # raised when the words below change, so that answers to other questions are not taken for answers to these
MAX_CHARS = 200  # of one item's text
_EXAMPLES = (
    (
        ["Stainless Steel Travel Mug, 16 Ounce", "Camp Stove with 2 Burners"],
        "practical gear for camping and days outdoors",
    ),
    (["Corner Street Coffee", "The Old Mill Bakery"], "good coffee and fresh bread close to home"),
)
_BULLET = re.compile(r"^\s*(?:[-*•]|\(?\d+[.):]|Group \d+:)\s+")


def question(groups: Sequence[Sequence[str]]) -> list[Message]:
    """One user's groups of item texts, oldest first, as a conversation that asks for a phrase for each."""
    listed = "\n".join(
        f"Group {number}:\n" + "\n".join(f"- {text[:MAX_CHARS]}" for text in group)
        for number, group in enumerate(groups, start=1)
    )
    many = "one phrase" if len(groups) == 1 else f"exactly {len(groups)} phrases, one line for each group in order,"
    return [
        {
            "role": "user",
            "content": f"A customer chose these items, from the oldest to the newest:\n\n{listed}\n\n"
            f"Write {many} of 3 to 12 words that says what kind of item, use and style this customer cares about. "
            "Do not copy an item's name and do not guess the customer's age or gender. Answer with nothing else.",
        }
    ]


def short_question(group: Sequence[str]) -> list[Message]:
    """One group of item texts as a conversation that shows by examples what is wanted: for small models."""
    task = "Say in 3 to 12 words what a customer who chose these items is interested in.\n\n"
    conversation = [
        {"role": role, "content": content}
        for texts, phrase in _EXAMPLES
        for role, content in (("user", _listed(texts)), ("assistant", phrase))
    ]
    conversation.append({"role": "user", "content": _listed(group)})
    conversation[0]["content"] = task + conversation[0]["content"]
    return conversation


def _listed(group: Sequence[str]) -> str:
    return "Items:\n" + "\n".join(f"- {text[:MAX_CHARS]}" for text in group) + "\nInterest:"


def correction(asked: list[Message], answer: str, n_groups: int) -> list[Message]:
    """The conversation that goes on after an answer of no use."""
    return [
        *asked,
        {"role": "assistant", "content": answer},
        {
            "role": "user",
            "content": f"That was not usable. Answer with exactly {n_groups} line{'s' * (n_groups > 1)} of plain text, "
            "one phrase on each, without numbers and comments.",
        },
    ]


def phrases(answer: str, n_groups: int) -> list[str] | None:
    """The phrases of an answer: a JSON array of texts, or else its lines; None unless there is one for each group.

    Of a line nothing but a leading bullet, number or "Group 1:" is removed, and quotes around it.
    """
    start, stop = answer.find("["), answer.rfind("]")
    lines = answer.splitlines()
    if 0 <= start < stop:
        try:
            given = json.loads(answer[start : stop + 1])
        except ValueError:
            given = None
        if isinstance(given, list) and all(isinstance(phrase, str) for phrase in given):
            lines = given
    found = [phrase for line in lines if (phrase := " ".join(_BULLET.sub("", line).split()).strip("\"'` ,"))]
    return found if len(found) == n_groups else None
