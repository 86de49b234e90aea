"""JSON text, as Go's encoding/json reads and prints it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.oci.schema1 import gojson

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("", '""'),
        ('say "\\"', r'"say \"\\\""'),
        ("\n\r\t", r'"\n\r\t"'),
        ("\b\f\x00\x1f", r'"\u0008\u000c\u0000\u001f"'),
        ("<a href='/'>&", r'''"\u003ca href='/'\u003e\u0026"'''),
        ("\u2028\u2029", r'"\u2028\u2029"'),
        ("\x7f\u0085é\ufeff😀", '"\x7f\u0085é\ufeff😀"'),
    ],
)
def test_strings_are_printed_as_go_prints_them(text: str, quoted: str) -> None:
    """Escapes for HTML, none for other text, and no short ones for two control characters."""
    assert gojson.quote(text) == quoted


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_quoted_string_reads_as_itself(text: str) -> None:
    """Whatever is escaped, nothing is lost."""
    assert gojson.string(gojson.quote(text), "") == text
    assert json.loads(gojson.quote(text)) == text


@given(st.text(st.characters() | st.sampled_from('\b\f\n\t"\\<>&\u2028\x00\x7f\ud800')))
def test_the_short_way_to_quote_is_the_long_one(text: str) -> None:
    assert gojson.quote(text) == f'"{text.translate(gojson._ESCAPES)}"'


@given(json_values)
def test_compact_changes_spaces_and_nothing_else(value: object) -> None:
    """Also where a string has spaces, quotes and backslashes in it."""
    spread = json.dumps(value, indent=3, ensure_ascii=False)
    compact = gojson.compact(spread)
    assert json.loads(compact) == value
    assert compact == gojson.compact(json.dumps(value, separators=(",", ":"), ensure_ascii=False))
    assert gojson.compact(compact) == compact


@pytest.mark.parametrize(
    ("text", "compact"),
    [
        ('\r\n{ "a" :\t1.0 , "a":[ ] }\n', '{"a":1.0,"a":[]}'),
        ('"\\u00e9 é \\/ \\" \\\\"', '"\\u00e9 é \\/ \\" \\\\"'),
        ('"<\u2028>&"', r'"\u003c\u2028\u003e\u0026"'),
        ("-0", "-0"),
    ],
)
def test_compact_is_verbatim(text: str, compact: str) -> None:
    """Numbers, escapes, order and repetition stay; HTML's specials and U+2028 are made safe."""
    assert gojson.compact(text) == compact


def test_members_are_the_texts_as_they_stand() -> None:
    """In order, with repeated keys, and keys without their escapes."""
    text = ' {"b":\n1.0 , "\\u0061\\ud800": [ 1 ] ,"b" : {"c":"}"}, "":null} '
    assert list(gojson.members(text)) == [
        ("b", "1.0"),
        ("a\ufffd", "[ 1 ]"),
        ("b", '{"c":"}"}'),
        ("", "null"),
    ]
    assert list(gojson.members(" { } ")) == []


def test_elements_are_the_texts_as_they_stand() -> None:
    """In order, each without the space round it."""
    text = f'[ {"9" * 5000} ,[ ], "]" ]'
    assert list(gojson.elements(text)) == ["9" * 5000, "[ ]", '"]"']
    assert list(gojson.elements("[]")) == []


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), json_values))
def test_a_document_has_the_members_that_it_is_made_of(value: dict[str, object]) -> None:
    """What is taken apart can be put together again."""
    members = {key: json.dumps(part) for key, part in value.items()}
    assert dict(gojson.members(gojson.document(members))) == members


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "null",
        "[]",
        '"{}"',
        "{",
        '{"a"',
        '{"a":',
        '{"a":1',
        '{"a":1,',
        '{"a":1,}',
        "{,}",
        '{"a" 1}',
        '{"a":1 "b":2}',
        '{"a":1]',
        "{a:1}",
        "{null:1}",
        "{1:1}",
        "{'a':1}",
        '{"a":1}x',
        '{"a":1}{}',
        "\ufeff{}",
        "\u00a0{}",
        "{}\x00",
        "\x0c{}",
    ],
)
def test_what_is_no_object_is_an_error(text: str) -> None:
    """Also where Python's own parser would go on, or another be kind."""
    with pytest.raises(ValueError, match=r"Expecting|Extra data|Unterminated|Invalid"):
        list(gojson.members(text))


@pytest.mark.parametrize(
    "value",
    [
        "NaN",
        "Infinity",
        "-Infinity",
        "nul",
        "True",
        "01",
        "+1",
        ".5",
        "1.",
        "1e",
        "-",
        "0x1",
        "1_0",
        "'a'",
        '"\n"',
        '"\x1f"',
        r'"\x41"',
        r'"\u12"',
        r'"\u 123"',
        r'"\u+123"',
        '"\\',
        "[1,]",
        "[1 2]",
        '{"a":1,}',
        '{"a"}',
        "/**/1",
    ],
)
def test_what_is_no_value_is_an_error(value: str) -> None:
    """At the top of an array, and somewhere inside it."""
    for text in (f"[{value}]", f'[[{{"a":{value}}}]]'):
        with pytest.raises(ValueError, match=r".+"):
            list(gojson.elements(text))


def test_deep_nesting_is_an_error_and_no_crash() -> None:
    """Callers that read untrusted input catch this error, too."""
    with pytest.raises(RecursionError):
        list(gojson.elements("[" * 100_000))


def test_keys_are_folded_as_go_folds_them() -> None:
    """In any case of ASCII, with the long s; not by Unicode's other rules."""
    assert gojson.fold("Empty_LAYER") == "empty_layer"
    assert gojson.fold("hi\N{LATIN SMALL LETTER LONG S}tory") == "history"
    assert gojson.fold("di\N{LATIN SMALL LIGATURE FF}_ids") != "diff_ids"
    assert gojson.fold("H\N{LATIN CAPITAL LETTER I WITH DOT ABOVE}story") != "history"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'"\ud83d\ude00"', "😀"),
        (r'"\ud83d"', "\ufffd"),
        (r'"\ude00\ud83d"', "\ufffd\ufffd"),
        (r'"\ud83d\u0041"', "\ufffdA"),
        (r'"\ud83d\ud83d\ude00"', "\ufffd😀"),
        ("null", "otherwise"),
    ],
)
def test_a_string_says_what_go_reads_in_it(text: str, value: str) -> None:
    """Half a pair of surrogates is U+FFFD; null changes nothing."""
    assert gojson.string(text, "otherwise") == value


def test_booleans() -> None:
    """Null changes nothing."""
    assert gojson.boolean("true", otherwise=False)
    assert not gojson.boolean("false", otherwise=True)
    assert gojson.boolean("null", otherwise=True)


@pytest.mark.parametrize("text", ["1", "[]", "{}", "true"])
def test_another_type_is_no_string(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a string"):
        gojson.string(text, "")


@pytest.mark.parametrize("text", ["1", '"true"', "{}", "[true]"])
def test_another_type_is_no_boolean(text: str) -> None:
    with pytest.raises(ValueError, match=r"is neither true nor false"):
        gojson.boolean(text, otherwise=False)
