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
