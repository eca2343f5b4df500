import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.protocol.generic.embedded import Place, TooManyBracketsError, Where, placed

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="{}[]"), max_size=20)


def places(text: str) -> list[tuple[str, Where, str, str]]:
    return [
        (part.name, part.where, part.before, part.after) for part in placed(text) if isinstance(part, Place)
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("AUTH {a}", [("a", Where.TEXT, " ", "")]),
        ("{a}", [("a", Where.TEXT, "", "")]),
        ('AUTH "{a}" x', [("a", Where.TEXT, '"', '"')]),
        ("{a}{b};", [("a", Where.TEXT, "", ""), ("b", Where.TEXT, "", ";")]),
        ('CONNECT {"u":"{a}"}\r\n', [("a", Where.STRING, '"', '"')]),
        ('CONNECT {"u":"\\"{a}\\\\"} {b}', [("a", Where.STRING, '"', "\\"), ("b", Where.TEXT, " ", "")]),
        ('[1, {"u":{a},"{b}":"x{c}y"}]', [
            ("a", Where.VALUE, ":", ","),
            ("b", Where.STRING, '"', '"'),
            ("c", Where.STRING, "x", "y"),
        ]),
        # These look like JSON but are not.
        ('{"u":"{a}"', [("a", Where.TEXT, '"', '"')]),
        ("[{a}]", [("a", Where.TEXT, "[", "]")]),
        # Only a piece of the text is JSON, or none of it.
        ('[tag {"u":"{a}"}', [("a", Where.STRING, '"', '"')]),
        ("nothing", []),
    ],
)  # fmt: skip
def test_the_surroundings_of_each_placeholder_are_found(
    text: str, found: list[tuple[str, Where, str, str]]
) -> None:
    assert places(text) == found


@settings(deadline=None)
@given(texts, texts, texts)
def test_within_any_json_a_placeholder_of_a_string_is_found(before: str, beside: str, after: str) -> None:
    text = f"{before}{json.dumps({beside: [1, beside + '{login.password}' + beside]})}{after}"
    assert [where for _, where, _, _ in places(text)] == [Where.STRING]
    assert "".join(f"{{{part.name}}}" if isinstance(part, Place) else part for part in placed(text)) == text


@pytest.mark.parametrize("bracket", ["[", "{", '[1,{"a":'])
def test_a_text_of_brackets_is_refused_instead_of_searched_for_ever(bracket: str) -> None:
    with pytest.raises(TooManyBracketsError):
        placed(bracket * 100_000 + "{login.password}")
