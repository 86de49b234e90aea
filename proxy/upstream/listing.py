"""A page of a listing: what came, and what the headers say of it."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from proxy.errors import UpstreamInvalid
from proxy.oci.headers.link import LinkInvalid, Page, following
from proxy.upstream.refusal import is_refused_request
from proxy.upstream.session import read_content

if TYPE_CHECKING:
    from proxy.upstream.observation import Tally
    from proxy.upstream.session import Answer

# 75 000 tags take 4.5 MiB, and some registries send all of them in one answer.
MAX_LISTING: Final = 32 * 1024 * 1024


async def read_page(tally: Tally, answer: Answer) -> Page:
    """The page; UpstreamInvalid if a next page is announced that cannot be requested."""
    headers = answer.response.headers
    try:
        query = following(headers.getall("Link", []))
    except LinkInvalid as error:
        raise UpstreamInvalid(
            f"the list of {answer.endpoint} has further pages, but its Link {error}",
            context=answer.context,
        ) from None
    raw = await read_content(answer, MAX_LISTING)
    tally.received = len(raw)
    filters = ",".join(headers.getall("OCI-Filters-Applied", [])).lower()
    return Page(raw, query, filtered="artifacttype" in filters)


def lacks_referrers_api(status: int) -> bool:
    """Whether the status says that the registry has no referrers API.

    Registries say so in many ways: 404, 501, and 4xx that otherwise say that a request is wrong.
    """
    return status in {HTTPStatus.NOT_FOUND, HTTPStatus.NOT_IMPLEMENTED} or is_refused_request(
        status
    )
