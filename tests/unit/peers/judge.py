"""What clients of replicas in memory may get, and what was wrong with what they got."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.errors import UpstreamInvalid
from proxy.peers.membership import Reason
from proxy.peers.questions import Question, Subject
from proxy.telemetry.trace import Outcome
from tests.kit.memory_fleet import CARGO, HUB

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxy.oci.reference import Digest, Tag
    from tests.kit.memory_fleet import Fleet
    from tests.unit.peers.pulls import History, Pull

# A lie about a larger blob is seen when it has been sent, in bytes.
_SMALL: Final = 64 * 1024
# A digest that no replica had is not asked for again for so long, in seconds.
_NEGATIVE_LIFE: Final = 5.0
# What was found out a moment before an answer counts as found out then, in seconds.
_SLACK: Final = 2.0
# So many replicas have a derived manifest at least.
_COPIES: Final = 2
# After a failure the registry is not asked about the tag for a while, in seconds.
_HELD_OFF: Final = 30.0


class Judge:
    """Knows the fleet from outside."""

    def __init__(self, fleet: Fleet, ttl: float, history: Mapping[Tag, History]) -> None:
        """A tag is fresh for `ttl` seconds; `history` is what each has named."""
        self.fleet = fleet
        self.ttl = ttl
        self.history = history
        self.problems: list[str] = []
        # Derived manifests that clients have got.
        self.given: dict[Digest, bytes] = {}
        # When each digest was last not found by a replica, and when the upstream was not well.
        self._missed: dict[tuple[str, Digest], float] = {}
        self._unwell = 0.0

    async def look_for(self, pull: Pull) -> None:
        """Note who has what is asked for, before it is."""
        pull.began = self.fleet.clock.wall()
        if not self.fleet.upstream.is_well:
            self._unwell = pull.began
        pull.holders = frozenset(
            [one.address for one in self.fleet.replicas.values() if await pull.is_stored(one)]
        )

    async def has_path(self, pull: Pull) -> bool:
        """Whether the upstream answers, or a replica that all who may be asked can ask."""
        if self.fleet.upstream.is_well and pull.digest not in self.given:
            return True
        if pull.tag is not None and await self._was_purged(pull.tag):
            return False
        return any(self._reaches(pull.replica.address, holder) for holder in pull.holders)

    async def _was_purged(self, tag: Tag) -> bool:
        """Whether some replica asks the registry itself, because others may not have forgotten."""
        question = Question(Subject.TAG, HUB, CARGO.name, tag)
        asked = [await one.replicas.is_purged(question) for one in self.fleet.replicas.values()]
        return any(asked)

    def _reaches(self, one: str, other: str) -> bool:
        """Whether `other` is well, and no replica on the side of `one` leaves it out."""
        network = self.fleet.network
        if one == other:
            return True
        if network.failure(one, other) is not None or other in network.lying:
            return False
        side = [
            each
            for each in self.fleet.up()
            if each.address != other and network.failure(one, each.address) is None
        ]
        return all(
            each.replicas.membership.states()[other] in {None, Reason.DRAINING} for each in side
        )

    def judge(self, pull: Pull, *, has_path: bool) -> None:
        """Note what is wrong with it. `has_path`: whether it could be got all the time."""
        if pull.is_secret:
            if pull.error is None:
                self.problems.append(f"{pull.what}: given by {pull.replica.address}")
        elif pull.error is not None:
            self._judge_failure(pull, has_path=has_path)
        elif pull.digest is None or not pull.digest.matches(pull.content):
            self.problems.append(f"{pull.what}: wrong bytes from {pull.replica.address}")
        elif pull.tag is not None:
            self._judge_tag(pull)

    def _judge_failure(self, pull: Pull, *, has_path: bool) -> None:
        now = self.fleet.clock.wall()
        if isinstance(pull.error, UpstreamInvalid) and pull.size > _SMALL:
            # Another replica has lied about a large blob, and the client tries again.
            return
        if pull.digest in self.given:
            key = (pull.replica.address, pull.digest)
            before, self._missed[key] = self._missed.get(key, 0.0), now
            has_path = has_path and pull.began - before > _NEGATIVE_LIFE
        if has_path:
            self.problems.append(pull.failure)

    def _judge_tag(self, pull: Pull) -> None:
        assert pull.tag is not None
        assert pull.trace is not None
        assert pull.digest is not None
        if pull.is_derived:
            if pull.digest not in self.given:
                self._judge_copies(pull.digest)
            self.given[pull.digest] = pull.content
        history = self.history[pull.tag]
        oldest = 0.0
        if pull.trace.outcome is not Outcome.STALE:
            oldest = max(pull.began - self.ttl, history.purged.get(pull.replica.address, 0.0))
        elif pull.began - self._unwell > _HELD_OFF:
            self.problems.append(f"{pull.what}: stale from {pull.replica.address} for no reason")
        if pull.named not in history.since(oldest - _SLACK):
            self.problems.append(f"{pull.what}: {pull.replica.address} gives what it named once")

    def _judge_copies(self, digest: Digest) -> None:
        """A manifest that was made just now is where others look for it, if they can be reached."""
        replicas = self.fleet.replicas.values()
        is_calm = not self.fleet.network.is_broken and all(
            reason is None
            for one in replicas
            for reason in one.replicas.membership.states().values()
        )
        if is_calm and sum(digest in one.derived.stored for one in replicas) < _COPIES:
            self.problems.append(f"derived {digest}: only one replica has it")

    async def look_at_stores(self, blobs: Sequence[Digest], images: Sequence[Digest]) -> None:
        """Nothing that is stored is anything but what its digest names."""
        for replica in self.fleet.replicas.values():
            for digest in blobs:
                blob = await replica.store.open(digest)
                if blob is not None:
                    if not digest.matches(bytes(await blob.read(0, blob.size))):
                        self.problems.append(f"{replica.address} stores something else: {digest}")
                    blob.close()
            stored = [(one.digest, one.content) for one in replica.derived.stored.values()]
            for digest, content in stored:
                if content is None or not digest.matches(content.raw):
                    self.problems.append(f"{replica.address} stores something else: {digest}")
            for digest in images:
                raw = (await replica.layer.look_manifest(str(CARGO), digest)).raw
                if raw is not None and not digest.matches(raw):
                    self.problems.append(f"{replica.address} stores something else: {digest}")
