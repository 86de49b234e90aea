"""Questions and answers are read as they were written, and nothing else is."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import (
    BlobUnknown,
    ListingRefused,
    NameInvalid,
    RangeInvalid,
    RegistryError,
    UpstreamFailure,
    UpstreamThrottled,
)
from proxy.errors import RequestInvalid as Unknown
from proxy.oci.reference import Digest, Tag
from proxy.peers.answers import Draining, NotStored, Value, frame_of_error, read_error
from proxy.peers.frames import Frame, FrameInvalid, Kind
from proxy.peers.questions import Effort, Question, Subject

DIGEST = Digest.of(b"content")
QUESTIONS = [
    Question(Subject.HEALTH),
    Question(Subject.BLOB, "docker.io", "library/cargo", DIGEST, start=7, end=9),
    Question(Subject.BLOB, "docker.io", "library/cargo", DIGEST, start=-5, effort=Effort.STORED),
    Question(Subject.BLOB, "docker.io", "library/cargo", DIGEST, end=0),
    Question(Subject.BLOB_SIZE, "quay.io:443", "a", DIGEST),
    Question(Subject.MANIFEST, "docker.io", "a/b", DIGEST, raw=True),
    Question(Subject.TAG, "docker.io", "a/b", Tag("1.0"), effort=Effort.STALE),
    Question(Subject.NAMING, "docker.io~mirrors", "a/b", DIGEST, effort=Effort.STORED),
    Question(Subject.TAGS, "docker.io", "a/b", query="n=5&last=a%2Fb"),
    Question(Subject.REFERRERS, "docker.io", "a/b", DIGEST, query="x=\udcff"),
]


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_is_read_as_it_was_written(question: Question) -> None:
    assert question.encode().isascii()
    assert Question.decode(question.encode()) == question


@pytest.mark.parametrize(
    "target",
    [
        "/peers/1/secret",
        "/peers/1/",
        "/peers/1/tag?name=a&reference=..%2F..",
        "/peers/1/tag?name=A&reference=1",
        "/peers/1/blob?name=a&reference=1.0",
        "/peers/1/blob?name=a&reference=sha256:00",
        f"/peers/1/blob?name=a&reference={DIGEST}&start=x",
        f"/peers/1/blob?name=a&reference={DIGEST}&effort=all",
        "/peers/1/tags?name",
    ],
)
def test_what_is_no_question_is_refused(target: str) -> None:
    with pytest.raises(Unknown):
        Question.decode(target)


@given(st.text(max_size=60))
def test_any_target_is_a_question_or_refused(target: str) -> None:
    with suppress(Unknown):
        Question.decode(f"/peers/1/{target}")


def test_content_has_one_owner_through_every_repository() -> None:
    one, other = (Question(Subject.BLOB, "docker.io", name, DIGEST) for name in ("a", "b"))
    assert one.key == other.key == Question(Subject.MANIFEST, "docker.io", "c", DIGEST).key
    assert one.key != Question(Subject.BLOB, "quay.io", "a", DIGEST).key


def test_tags_and_listings_have_owners_of_their_own() -> None:
    questions = [each for each in QUESTIONS if each.name == "a/b"]
    assert len({each.key for each in questions}) == len(questions)


def test_a_value_is_read_as_it_was_written() -> None:
    value = Value({"age": 1.5}, b"a\nb")
    assert Value.read(value.frame()) == value


@pytest.mark.parametrize("payload", [b"", b"[]\n", b"no JSON\n", b"[" * 100_000])
def test_a_value_that_cannot_be_read_is_refused(payload: bytes) -> None:
    with pytest.raises(FrameInvalid):
        Value.read(Frame(Kind.VALUE, payload))


@pytest.mark.parametrize(
    "error",
    [
        BlobUnknown("there is none"),
        UpstreamThrottled("too many", retry_after=2.5),
        RangeInvalid("no such bytes", size=5),
        ListingRefused("too large", status=400, code="PAGINATION_NUMBER_INVALID"),
        NotStored(),
        Draining(),
    ],
)
def test_an_error_is_read_as_it_was_written(error: RegistryError | NotStored | Draining) -> None:
    found = read_error(frame_of_error(error))
    assert type(found) is type(error)
    assert vars(found) == vars(error)


def test_an_error_that_is_not_for_peers_says_that_it_failed() -> None:
    found = read_error(frame_of_error(NameInvalid("a name")))
    assert type(found) is UpstreamFailure


@pytest.mark.parametrize(
    "about",
    [{}, {"error": "SystemExit"}, {"error": "BlobUnknown"}, {"error": "RangeInvalid", "size": 1}],
)
def test_an_error_that_nobody_knows_is_refused(about: dict[str, object]) -> None:
    with pytest.raises(FrameInvalid):
        read_error(Frame(Kind.ERROR, json.dumps(about).encode()))
