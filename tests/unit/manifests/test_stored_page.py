"""A stored page: decoded as it was, for its own query only; anything else is invalid."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.errors import UpstreamInvalid
from proxy.manifests import stored_page
from proxy.manifests.stored_page import decode, encode, referrers_slot, tags_slot
from proxy.oci.headers.link import LinkInvalid, Page, following, is_query

DOCUMENTS = st.dictionaries(st.text(), st.text()).map(lambda found: json.dumps(found).encode())


def link_to(text: str) -> str | None:
    with contextlib.suppress(LinkInvalid):
        return following([f'</v2/a?{text}>; rel="next"'])
    return None


LINKS = st.text(max_size=60).map(link_to)


@given(raw=DOCUMENTS, link=LINKS, filtered=st.booleans(), query=st.text())
def test_a_page_is_decoded_as_it_was(
    *, raw: bytes, link: str | None, filtered: bool, query: str
) -> None:
    page = Page(raw, link, filtered)
    assert decode(encode(page, query), query) == page
    assert decode(encode(page, query), query + "x") is None


@pytest.mark.parametrize(
    "head",
    [
        *(b"", b"[]", b"null", b"{}", b"[" * 100_000, b"NaN", b'{"query":""}'),
        b'{"query":1,"next":null,"filtered":false}',
        b'{"query":"","next":"a\\r\\nX: 1","filtered":false}',
        b'{"query":"","next":"a>; rel=x","filtered":false}',
        b'{"query":"","next":"","filtered":false}',
        b'{"query":"","next":1,"filtered":false}',
        b'{"query":"","next":null,"filtered":1}',
    ],
)
def test_what_is_no_page(head: bytes) -> None:
    with pytest.raises(UpstreamInvalid):
        decode(head + b'\n{"tags":[]}', "")


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b"[" * 100_000, b'{"tags": NaN}', b"\xff"])
def test_a_page_that_is_no_json_object(raw: bytes) -> None:
    with pytest.raises(UpstreamInvalid):
        decode(encode(Page(raw), "n=1"), "n=1")


@given(st.binary(max_size=200))
@example(b'{"query":"","next":null,"filtered":false}\n{}')
def test_nothing_else_is_raised(value: bytes) -> None:
    with contextlib.suppress(UpstreamInvalid):
        decode(value, "")


@given(st.sets(st.text(), min_size=1))
def test_a_repository_has_a_bounded_number_of_slots(queries: set[str]) -> None:
    assert tags_slot("") not in {tags_slot(query) for query in queries if query}
    numbers = {int(referrers_slot(query).partition(":")[2]) for query in queries}
    assert max(numbers) < stored_page._REFERRER_SLOTS


@given(LINKS)
def test_what_a_link_names_is_a_query(link: str | None) -> None:
    assert link is None or is_query(link)
