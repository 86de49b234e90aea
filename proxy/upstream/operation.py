"""What a registry is asked: the key under which its failures and refusals are remembered."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Kind(StrEnum):
    """The kinds of questions. Labels of metrics, which docs/observability.md lists."""

    MANIFEST_HEAD = "manifest_head"
    MANIFEST = "manifest"
    BLOB_HEAD = "blob_head"
    BLOB = "blob"
    TAGS = "tags"
    REFERRERS = "referrers"
    # Asked of a token server, on the way to the answer to one of the others.
    TOKEN = "token"  # noqa: S105 -- a label
    # Whether a client's own login may pull.
    RIGHT = "right"


@dataclass(frozen=True, slots=True)
class Operation:
    """One question: its kind, the repository's name at the registry, and what of it is wanted.

    `subject` is a tag, a digest or a listing's query. Ranges are not part of it: what a registry
    answers about one range of a blob holds for the others.
    """

    kind: Kind
    repository: str
    subject: str
    # Asked again at once after a failure, which has been counted.
    is_retry: bool = field(default=False, compare=False)

    @property
    def scope(self) -> tuple[str, Kind]:
        """What fails together when the registry itself works: one kind in one repository.

        HEAD and GET of a manifest are one kind here: the second decides what the first leaves open.
        """
        kind = Kind.MANIFEST if self.kind is Kind.MANIFEST_HEAD else self.kind
        return self.repository, kind

    @property
    def is_listing(self) -> bool:
        """Whether it asks what there is, and not for content that a digest can verify."""
        return self.kind in {Kind.TAGS, Kind.REFERRERS}
