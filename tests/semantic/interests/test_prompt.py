import pytest

from sage_pl.semantic.interests import prompt


@pytest.mark.parametrize(
    ("answer", "n", "expected"),
    [
        ('["green teas", "bike parts"]', 2, ["green teas", "bike parts"]),
        ('Here you are:\n```json\n["green teas",\n "bike parts"]\n```', 2, ["green teas", "bike parts"]),
        ("green teas\n\n  bike parts \n", 2, ["green teas", "bike parts"]),
        ("1. green teas\n2) bike parts", 2, ["green teas", "bike parts"]),
        ("- green teas\n* bike parts", 2, ["green teas", "bike parts"]),
        ("Group 1: green teas\nGroup 2: bike parts", 2, ["green teas", "bike parts"]),
        ('"green teas"', 1, ["green teas"]),
        ("Enjoys St. Ives scrubs", 1, ["Enjoys St. Ives scrubs"]),  # nothing but a number goes before a full stop
        ("3.5 mm jacks and cables", 1, ["3.5 mm jacks and cables"]),
        ("likes [sic] teas", 1, ["likes [sic] teas"]),
        ("green teas", 2, None),
        ("a\nb\nc", 2, None),
        ("[1, 2]", 2, None),
        ('["a", "  "]', 2, None),
        ("", 1, None),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_answers_are_read(answer: str, n: int, expected: list[str] | None) -> None:
    assert prompt.phrases(answer, n) == expected


THOUGHT = "<think>\nThe customer buys tea.\nMaybe [two] groups?\n</think>\n\n"


@pytest.mark.parametrize(
    ("answer", "n", "expected", "earlier"),
    [
        (f"{THOUGHT}green teas", 1, ["green teas"], None),
        (f'{THOUGHT}["green teas", "bike parts"]', 2, ["green teas", "bike parts"], None),
        (
            "The customer buys tea.\n</think>\ngreen teas",
            1,
            ["green teas"],
            None,
        ),  # the service removed the opening tag
        ("<think>\nThe customer buys tea, so", 1, None, None),  # cut before its end
        ("Sure! Here are the phrases:\ngreen teas\nbike parts", 2, ["green teas", "bike parts"], None),
        ("Here is the phrase: green teas", 1, ["green teas"], ["Here is the phrase: green teas"]),
        ("Interest: green teas", 1, ["green teas"], ["Interest: green teas"]),
        ("```\n**green teas**\n```", 1, ["green teas"], ["**green teas**"]),
        ("here and now: teas", 1, ["teas"], ["here and now: teas"]),
        ("heritage teas: green and black", 1, ["heritage teas: green and black"], ["heritage teas: green and black"]),
        ("I'm sorry, but I can't help with that.", 1, None, ["I'm sorry, but I can't help with that."]),
        ("I’m sorry, I cannot.", 1, None, ["I’m sorry, I cannot."]),
        ("As an AI language model, I cannot know", 1, None, ["As an AI language model, I cannot know"]),
        ("Not enough information to tell", 1, None, ["Not enough information to tell"]),
        ("N/A", 1, None, ["N/A"]),
        ('["green teas", "Unknown"]', 2, None, ["green teas", "Unknown"]),
        ("sorry-free gifts", 1, None, ["sorry-free gifts"]),  # rather asked again than believed
        ("unknown pleasures on vinyl", 1, ["unknown pleasures on vinyl"], ["unknown pleasures on vinyl"]),
        ("no sugar snacks", 1, ["no sugar snacks"], ["no sugar snacks"]),
        ("candy that I cannot resist", 1, ["candy that I cannot resist"], ["candy that I cannot resist"]),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_thoughts_preambles_and_refusals_are_no_interests(
    answer: str, n: int, expected: list[str] | None, earlier: list[str] | None
) -> None:
    assert prompt.phrases(answer, n) == expected
    assert prompt.phrases(answer, n, version=1) == earlier
    if n == 1:
        assert prompt.phrase(answer) == (expected[0] if expected else None)


def test_one_phrase_is_the_first_line_after_the_thoughts() -> None:
    assert prompt.phrase(f"{THOUGHT}Sure:\n1. green teas\nand so on") == "green teas"
    assert prompt.phrase(f"{THOUGHT}green teas", version=1) == "<think>"
    assert prompt.phrase("") is None
    assert prompt.phrase("", version=1) is None


def test_the_question_lists_every_group_from_old_to_new_and_says_how_many() -> None:
    (message,) = prompt.question([["old tea", "new tea"], ["x" * 999]])
    text = message["content"]
    assert text.index("Group 1:") < text.index("- old tea") < text.index("- new tea") < text.index("Group 2:")
    assert "exactly 2 phrases" in text
    assert "x" * prompt.MAX_CHARS in text
    assert "x" * (prompt.MAX_CHARS + 1) not in text


def test_a_short_question_shows_what_is_wanted() -> None:
    *examples, last = prompt.short_question(["old tea", "new tea"])
    assert [message["role"] for message in examples] == ["user", "assistant"] * 2
    assert examples[0]["content"].startswith("Say in 3 to 12 words")
    assert last == {"role": "user", "content": "Items:\n- old tea\n- new tea\nInterest:"}
    for shown in examples[1::2]:
        assert prompt.phrases(shown["content"], 1) == [shown["content"]]


def test_a_correction_goes_on_with_the_conversation() -> None:
    asked = prompt.question([["tea"]])
    again = prompt.correction(asked, "hm", 1)
    assert again[:1] == asked
    assert [message["role"] for message in again] == ["user", "assistant", "user"]
    assert again[1]["content"] == "hm"
    assert "exactly 1 line " in again[2]["content"]
