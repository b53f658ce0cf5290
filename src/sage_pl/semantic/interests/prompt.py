"""The prompts for a language model, and the parser of its answers."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

Message = dict[str, str]

VERSION = 2  # of the words and of the reading of answers; part of the key of stored ones
MAX_CHARS = 200  # of one item's text
_EXAMPLES = (
    (
        ["Stainless Steel Travel Mug, 16 Ounce", "Camp Stove with 2 Burners"],
        "practical gear for camping and days outdoors",
    ),
    (["Corner Street Coffee", "The Old Mill Bakery"], "good coffee and fresh bread close to home"),
)
_BULLET = re.compile(r"^\s*(?:[-*•]|\(?\d+[.):]|Group \d+:)\s+")
_THOUGHT = re.compile(r"<(think|thinking|reasoning)>.*?(?:</\1>|$)|^.*</(?:think|thinking|reasoning)>", re.S | re.I)
_ASSENT = "sure|certainly|of course|okay|ok"
_OPENINGS = f"{_ASSENT}|here|based on|the customer|the phrases?|interests?|phrases?|answers?"
_PREAMBLE = re.compile(rf"^(?:(?:{_OPENINGS})\b[^:]*:|(?:{_ASSENT})\W*$)\s*", re.I)
_REFUSALS = (
    "i'm sorry|i am sorry|sorry|i'm afraid|i am afraid|apologies|unfortunately|as an ai|as a language model|i can't|i cannot|"
    "i can not|i'm unable|i am unable|i'm not able|i am not able|i won't|i will not|i don't|i do not|not enough information|"
    "insufficient information|no information|it is unclear|it's unclear|cannot be determined|it is not possible"
)
_NOTHING = ("none", "unknown", "n/a", "null")


def question(groups: Sequence[Sequence[str]]) -> list[Message]:
    """The conversation for one user: groups of item texts, oldest first, and the task of a phrase for each."""
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
    """The conversation for one group of item texts, with examples, for small models."""
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


def correction(messages: list[Message], answer: str, n_groups: int) -> list[Message]:
    """The conversation continued after an unusable answer."""
    return [
        *messages,
        {"role": "assistant", "content": answer},
        {
            "role": "user",
            "content": f"That was not usable. Answer with exactly {n_groups} line{'s' * (n_groups > 1)} of plain text, "
            "one phrase on each, without numbers and comments.",
        },
    ]


def phrase(answer: str, version: int = VERSION) -> str | None:
    """The first line of the answer about one group; None for one that is empty or a refusal."""
    if version == 1:
        return next(iter(_read(answer.strip().partition("\n")[0], 1) or []), None)
    lines = _stripped(answer).splitlines()
    return next(iter(phrases(lines[0], 1) or []), None) if lines else None


def phrases(answer: str, n_groups: int, version: int = VERSION) -> list[str] | None:
    """The phrases of an answer: a JSON array of texts, or else its lines; None unless their number is that of the groups.

    Leading bullets, numbers or "Group 1:" are removed, and enclosing quotes. A model's thoughts (``<think>``, also without an
    end), words before the phrases and the fences of code are no phrases. One that is a refusal ("I'm sorry", "I cannot", "not
    enough information") makes the answer unusable.

    Args:
        answer: of the model.
        n_groups: phrases wanted.
        version: 1 takes thoughts, preambles and refusals for phrases, as earlier versions did.
    """
    texts = _read(answer if version == 1 else _stripped(answer), n_groups)
    return None if version > 1 and texts and any(map(_refuses, texts)) else texts


def _refuses(text: str) -> bool:
    plain = text.lower().replace("’", "'")
    return plain.startswith(tuple(_REFUSALS.split("|"))) or plain.rstrip(".") in _NOTHING


def _stripped(answer: str) -> str:
    """The lines of an answer without thoughts, preambles, fences and emphasis."""
    lines = (line.strip().replace("**", "") for line in _THOUGHT.sub("", answer).splitlines())
    texts = (_PREAMBLE.sub("", line) for line in lines if not line.startswith("```"))
    return "\n".join(text for text in texts if text and not text.endswith(":"))


def _read(answer: str, n_groups: int) -> list[str] | None:
    start, stop = answer.find("["), answer.rfind("]")
    lines = answer.splitlines()
    if 0 <= start < stop:
        try:
            array = json.loads(answer[start : stop + 1])
        except ValueError:
            array = None
        if isinstance(array, list) and all(isinstance(phrase, str) for phrase in array):
            lines = array
    texts = [phrase for line in lines if (phrase := " ".join(_BULLET.sub("", line).split()).strip("\"'` ,"))]
    return texts if len(texts) == n_groups else None
