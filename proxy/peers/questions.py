"""What a replica asks another one, and how that stands in the request. PURE."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self
from urllib.parse import parse_qsl, urlencode

from proxy.errors import RegistryError, RequestInvalid
from proxy.oci.reference import Digest, Tag, parse_name

# The version of all that replicas say to each other. Another one is answered 404.
PATH: Final = "/peers/1/"


class Subject(StrEnum):
    """What a question is about."""

    BLOB = "blob"
    BLOB_SIZE = "blob-size"
    MANIFEST = "manifest"
    TAG = "tag"
    TAGS = "tags"
    REFERRERS = "referrers"
    DERIVED = "derived"
    # What reading the layer shows, which its owner does for all.
    LAYER = "layer"
    # Get the blob from a replica that has it, and keep it: that replica is about to end.
    COPY = "copy"
    NAMING = "naming"
    HEALTH = "health"


class Effort(StrEnum):
    """What the replica that is asked does for the answer."""

    # As the owner: it asks other replicas and the upstream, and answers for all who wait.
    OWNER = "owner"
    # It gives what it has, if that is as good as what the upstream would say now, and of a blob
    # what it is fetching from upstream itself.
    STORED = "stored"
    # As for a client: it is no owner, but reads the blob already, or is the first of its zone.
    FOLLOW = "follow"
    # It gives what has arrived of a blob, which is not verified, and waits for nothing.
    ARRIVED = "arrived"
    # It also answers with a tag or a page that is stale: the upstream fails.
    STALE = "stale"


_OF_DIGEST: Final = {
    *(Subject.BLOB, Subject.BLOB_SIZE, Subject.MANIFEST, Subject.REFERRERS, Subject.DERIVED),
    *(Subject.COPY, Subject.LAYER, Subject.NAMING),
}
# The subjects that are the same in every repository.
_OF_NO_REPOSITORY: Final = {Subject.HEALTH, Subject.DERIVED}


@dataclass(frozen=True, slots=True)
class Question:
    """One question; what it does not need has its default.

    `registry` and `name` are those of the repository. `query` is that of a listing. `start` and
    `end` are of a blob, as `ports.Upstream.blob` has them. `raw`: a manifest's bytes are wanted
    with what a tag names. `direct`: the asker is not to be sent to another replica. `granted`: the
    repository is closed at the asker, which takes nothing that is only claimed where it asks.
    """

    subject: Subject
    registry: str = ""
    name: str = ""
    reference: Digest | Tag | None = None
    query: str = ""
    start: int = 0
    end: int | None = None
    raw: bool = False
    direct: bool = False
    granted: bool = False
    effort: Effort = Effort.OWNER

    @property
    def key(self) -> str:
        """What has an owner. Content has one for each upstream, not for each repository."""
        match self.subject:
            case Subject.BLOB | Subject.BLOB_SIZE | Subject.COPY | Subject.LAYER | Subject.MANIFEST:
                return f"{self.registry}/{self.reference}"
            case Subject.TAG:
                return f"{self.registry}/{self.name}:{self.reference}"
            case Subject.DERIVED:
                return f"derived/{self.reference}"
            case Subject.REFERRERS | Subject.NAMING:
                return f"{self.registry}/{self.name}@{self.reference}"
            case _:
                return f"{self.registry}/{self.name}"

    def encode(self) -> str:
        """The target of the request: a path and a query."""
        parts = {
            "registry": self.registry,
            "name": self.name,
            "reference": self.reference or "",
            "query": self.query,
            "start": str(self.start or ""),
            "end": "" if self.end is None else str(self.end),
            "raw": "1" if self.raw else "",
            "direct": "1" if self.direct else "",
            "granted": "1" if self.granted else "",
            "effort": "" if self.effort is Effort.OWNER else self.effort,
        }
        given = {key: value for key, value in parts.items() if value}
        path = f"{PATH}{self.subject}"
        return f"{path}?{urlencode(given, errors='surrogateescape')}" if given else path

    @classmethod
    def decode(cls, target: str) -> Self:
        """The question in a request's target; RequestInvalid if there is none that we know."""
        path, _, query = target.partition("?")
        try:
            subject = Subject(path.removeprefix(PATH))
            given = dict(parse_qsl(query, strict_parsing=bool(query), errors="surrogateescape"))
            reference: Digest | Tag | None = None
            if subject in _OF_DIGEST:
                reference = Digest(given.get("reference", ""))
            elif subject is Subject.TAG:
                reference = Tag(given.get("reference", ""))
            return cls(
                subject,
                registry=given.get("registry", ""),
                name="" if subject in _OF_NO_REPOSITORY else parse_name(given.get("name", "")),
                reference=reference,
                query=given.get("query", ""),
                start=int(given.get("start", "0")),
                end=int(given["end"]) if "end" in given else None,
                raw="raw" in given,
                direct="direct" in given,
                granted="granted" in given,
                effort=Effort(given.get("effort", Effort.OWNER)),
            )
        except (ValueError, RegistryError):
            raise RequestInvalid("this replica does not know the question") from None
