"""Every error of the domain has a status and the spec's form: the whole tree is walked."""

from __future__ import annotations

import importlib
import json
import pkgutil
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import pytest

import proxy
from proxy.errors import ManifestUnknown, RangeInvalid, RegistryError, UpstreamDenied
from proxy.web.errors import STATUS, body_of, status_of

if TYPE_CHECKING:
    from collections.abc import Iterator

# distribution spec, "Error Codes"; the last three are distribution's own.
CODES: Final = {
    *("BLOB_UNKNOWN", "DIGEST_INVALID", "MANIFEST_INVALID", "MANIFEST_UNKNOWN", "NAME_INVALID"),
    *("NAME_UNKNOWN", "UNSUPPORTED", "TOOMANYREQUESTS", "UNAUTHORIZED", "DENIED"),
    *("TAG_INVALID", "PAGINATION_NUMBER_INVALID", "UNAVAILABLE", "UNKNOWN"),
}
for module in pkgutil.walk_packages(proxy.__path__, "proxy."):
    importlib.import_module(module.name)


def _tree(kind: type[RegistryError] = RegistryError) -> Iterator[type[RegistryError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _tree(below)


TREE: Final = sorted(set(_tree()), key=lambda kind: kind.__name__)


def _some(kind: type[RegistryError]) -> RegistryError:
    """One of the kind, as the code makes it."""
    error = kind.__new__(kind, "a sentence")
    RegistryError.__init__(error, "a sentence", detail={"a": ["b"]})
    return error


@pytest.mark.parametrize("kind", TREE)
def test_an_error_has_a_status_a_code_and_one_form(kind: type[RegistryError]) -> None:
    error = _some(kind)
    status = status_of(error)
    # Nothing but a bug is the proxy's own failure.
    assert (status == HTTPStatus.INTERNAL_SERVER_ERROR) == (kind is RegistryError)
    assert status >= HTTPStatus.BAD_REQUEST
    assert kind.code in CODES
    assert json.loads(body_of(error)) == {
        "errors": [{"code": kind.code, "message": "a sentence", "detail": {"a": ["b"]}}]
    }


def test_every_row_of_the_table_is_of_the_tree() -> None:
    assert set(TREE) >= STATUS.keys()
    assert len(TREE) >= 20


def test_the_nearest_class_counts() -> None:
    class MovedAway(ManifestUnknown):
        """A class that nobody has put into the table."""

    assert status_of(MovedAway("gone")) == HTTPStatus.NOT_FOUND
    assert status_of(UpstreamDenied("denied")) == HTTPStatus.NOT_FOUND


def test_a_missing_detail_is_omitted() -> None:
    assert json.loads(body_of(ManifestUnknown("gone")))["errors"][0].keys() == {"code", "message"}


def test_a_range_error_states_the_size() -> None:
    errors: list[dict[str, Any]] = json.loads(body_of(RangeInvalid("beyond", size=5)))["errors"]
    assert errors == [{"code": "UNKNOWN", "message": "beyond", "detail": {"size": 5}}]
