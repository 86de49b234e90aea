"""How often each image was pulled lately. Bounded: the least pulled ones are forgotten first."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, TypedDict

from proxy.report.tally import add_counts

# The images that are remembered, and those that are reported.
_REMEMBERED: Final = 400
_REPORTED: Final = 100
_HOURS: Final = 24
_HOUR: Final = 3600.0
# GET of a tag that its client has asked for by HEAD so long ago is the same pull, in seconds.
_SAME_PULL: Final = 10.0
# Clients whose HEAD is remembered for each image.
_HEADS: Final = 4


class ImagePulls(TypedDict):
    """An image by its tag. `pulls` are those of the last 24 hours; times since 1970."""

    image: str
    pulls: int
    last_pull: float
    forms: dict[str, int]


@dataclass(slots=True)
class _Image:
    # By hour since 1970.
    pulls: dict[int, int] = field(default_factory=dict)
    last: float = 0.0
    forms: dict[str, int] = field(default_factory=dict)
    # Clients that have asked by HEAD only so far, and when.
    heads: dict[str, float] = field(default_factory=dict)

    def total(self, hour: int) -> int:
        for old in [each for each in self.pulls if each <= hour - _HOURS]:
            del self.pulls[old]
        return sum(self.pulls.values())


class ImageCounts:
    """The images that clients were given by a tag."""

    def __init__(self) -> None:
        self._images: dict[str, _Image] = {}

    def __len__(self) -> int:
        return len(self._images)

    def add(
        self, image: str, form: str, client: str, *, by_head: bool, count: int, at: float
    ) -> None:
        """A client got the image `count` times, in this form.

        A pull begins with HEAD or GET of the tag: some clients send one, some the other, some both.
        """
        entry = self._images.get(image)
        if entry is None:
            if len(self._images) >= _REMEMBERED:
                self._forget(at)
            entry = self._images[image] = _Image()
        entry.last = at
        pulls = count
        if by_head:
            entry.heads.pop(client, None)
            entry.heads[client] = at
            if len(entry.heads) > _HEADS:
                del entry.heads[next(iter(entry.heads))]
        else:
            pulls -= at - entry.heads.pop(client, -_SAME_PULL) < _SAME_PULL
        # A form that was named by HEAD only is listed, too.
        add_counts(entry.forms, {form: 0 if by_head else count})
        hour = int(at // _HOUR)
        if pulls:
            entry.pulls[hour] = entry.pulls.get(hour, 0) + pulls

    def report(self, now: float) -> list[ImagePulls]:
        """The most pulled images of the last 24 hours, the most pulled first."""
        hour = int(now // _HOUR)
        counted = ((entry.total(hour), name, entry) for name, entry in self._images.items())
        pulled = sorted(
            (each for each in counted if each[0]), key=lambda each: (-each[0], -each[2].last)
        )
        return [
            ImagePulls(image=name, pulls=pulls, last_pull=entry.last, forms=dict(entry.forms))
            for pulls, name, entry in pulled[:_REPORTED]
        ]

    def _forget(self, now: float) -> None:
        """Make room for a tenth more."""
        hour = int(now // _HOUR)
        ranked = sorted(
            self._images, key=lambda name: (self._images[name].total(hour), self._images[name].last)
        )
        for name in ranked[: _REMEMBERED // 10]:
            del self._images[name]


def merge_images(reports: list[list[ImagePulls]]) -> list[ImagePulls]:
    """Add up what several processes report."""
    merged: dict[str, ImagePulls] = {}
    for each in (entry for report in reports for entry in report):
        known = merged.get(each["image"])
        if known is None:
            merged[each["image"]] = ImagePulls(**{**each, "forms": dict(each["forms"])})
            continue
        known["pulls"] += each["pulls"]
        known["last_pull"] = max(known["last_pull"], each["last_pull"])
        add_counts(known["forms"], each["forms"])
    ranked = sorted(merged.values(), key=lambda each: (-each["pulls"], -each["last_pull"]))
    return ranked[:_REPORTED]
