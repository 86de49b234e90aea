"""The next page in a `Link` header, as registries write it."""

from __future__ import annotations

import pytest

from proxy.oci.headers.link import following


@pytest.mark.parametrize(
    ("link", "query"),
    [
        (None, None),
        ("", None),
        ("<>", None),
        ('</v2/a/tags/list?last=b&n=1>; rel="next"', "last=b&n=1"),
        ("</a?x=1>; rel=NEXT", "x=1"),
        ('</a?x=1>; rel="start next"', "x=1"),
        ("</a?x=1>; rel=prev, </b?y=2>; rel=next", "y=2"),
        ("</a?x=1>; rel=nextish", None),
        ("</a>; rel=next", None),
        # Old Quay wrote no <>.
        ('/v2/a/tags/list?n=2&last=c; rel="next"', "n=2&last=c"),
        ('</a?x=1>; title="b, c; d"; rel="next"', "x=1"),
        ("</a?x={b|c d}>; rel=next", "x=%7Bb%7Cc%20d%7D"),
        ("</a?x=1,2;3>; rel=next", "x=1,2;3"),
        (f"</a?last={'A' * 3000}>; rel=next", f"last={'A' * 3000}"),
        ("<http://[::1?x=1#y>; rel=next", "x=1"),
        # It does not choose among our upstreams.
        ("</a?ns=b&x=1&n%73=c>; rel=next", "x=1"),
        ("</a?ns=b>; rel=next", None),
        ("</a?x=\r\ny>; rel=next", "x=%0D%0Ay"),
    ],
)
def test_the_query_of_the_next_page(link: str | None, query: str | None) -> None:
    assert following(link) == query
