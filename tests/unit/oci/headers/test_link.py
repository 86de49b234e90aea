"""The next page in a `Link` header, as registries write it."""

from __future__ import annotations

import pytest

from proxy.oci.headers.link import LinkInvalid, following, is_parameter, without_ns

LONG = "A" * 16 * 1024


@pytest.mark.parametrize(
    ("link", "query"),
    [
        (None, None),
        ("", None),
        ("<>", None),
        (" , ,", None),
        ('</v2/a/tags/list?last=b&n=1>; rel="next"', "last=b&n=1"),
        ("</a?x=1>; rel=NEXT", "x=1"),
        ("</a?x=1>;rel=next", "x=1"),
        ("</a?x=1> ; rel = next ;", "x=1"),
        ('</a?x=1>; Rel = \t"next"', "x=1"),
        ("</a?x=1>; rel='next'", "x=1"),
        ("<?x=1>; rel=next", "x=1"),
        ("<https://elsewhere.example/b?x=1#y>; rel=next", "x=1"),
        ('</a?x=1>; rel="start next"', "x=1"),
        ('</a?x=1>; rel="https://example.com/next\tnext"', "x=1"),
        ("</a?x=1>; rel=prev, </b?y=2>; rel=next", "y=2"),
        (", </a?x=1>; rel=prev,, </b?y=2>; rel=next,", "y=2"),
        ("</a?x=1>; rel=nextish", None),
        # Only the first `rel` counts.
        ("</a?x=1>; rel=prev; rel=next", None),
        ("</a?next_page=1>; rel=prev", None),
        # Old Quay wrote no <>.
        ('/v2/a/tags/list?n=2&last=c; rel="next"', "n=2&last=c"),
        ("/v2/a/tags/list?n=2,3;last=c;rel=next", "n=2,3;last=c"),
        ("/a?x=1; rel=prev, </b?y=2>; rel=next", "y=2"),
        ('</a?x=1>; title="b, c; d"; rel="next"', "x=1"),
        ('</a?x=1>; title="b\\", <c>; rel=prev"; rel="next"', "x=1"),
        ("</a?x=1>; title*=UTF-8''b%2c; rel=next; media", "x=1"),
        ("</a?x={b|c d}>; rel=next", "x=%7Bb%7Cc%20d%7D"),
        ("</a?x=1,2;3>; rel=next", "x=1,2;3"),
        # An opaque token stays as it is.
        ("</a?last=%ff%2F+%7B==&n=>; rel=next", "last=%ff%2F+%7B==&n="),
        ("</a?token>; rel=next", "token"),
        (f"</a?last={LONG}>; rel=next", f"last={LONG}"),
        ("<http://[::1?x=1#y>; rel=next", "x=1"),
        # On a page of a listing a lone link can only mean the next page.
        ("</a?last=b>", "last=b"),
        ("</a?last=b>; title=more", "last=b"),
        # It does not choose among our upstreams.
        ("</a?ns=b&x=1&n%73=c>; rel=next", "x=1"),
        ("</a?x=\r\ny>; rel=next", "x=%0D%0Ay"),
    ],
)
def test_the_query_of_the_next_page(link: str | None, query: str | None) -> None:
    assert following([] if link is None else [link]) == query


def test_the_lines_of_a_header_are_one_list() -> None:
    assert following(["</a?x=1>; rel=prev", '</b?y=2>; rel="next"']) == "y=2"


@pytest.mark.parametrize(
    "link",
    [
        "</a>; rel=next",
        "</v2/a/tags/list/page/2>; rel=next",
        "</a?ns=b>; rel=next",
        '</a?last=b; rel="next"',
        '</a?last=b>; rel="next',
        "</a?last=b> rel=next",
        "; rel=next",
        f"</a?last={LONG}{LONG}>; rel=next",
        f"</a?last={LONG * 5}>; rel=next",
    ],
)
def test_a_next_page_that_cannot_be_requested_is_an_error(link: str) -> None:
    """A list that is cut looks like a whole one."""
    with pytest.raises(LinkInvalid):
        following([link])


def test_a_query_is_passed_on_as_it_came_but_for_ns() -> None:
    assert without_ns("last=%ff+&ns=quay.io&x=%7B{&&n=") == "last=%ff+&x=%7B%7B&n="
    assert is_parameter("%6es=a", "ns")
