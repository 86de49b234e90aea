"""The examples of README and docs: where they are, and which kind each is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parents[2]
# Pages whose examples have tests of their own.
ELSEWHERE: Final = {"container.md", "releasing.md"}
PAGES: Final = [
    path
    for pattern in ("*.md", "docs/**/*.md", "helm/README.md")
    for path in sorted(ROOT.glob(pattern))
    if path.name not in ELSEWHERE
]
_FENCE: Final = re.compile(r"^```([a-z]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Fence:
    """One example; `number` counts those of its page."""

    page: str
    number: int
    language: str
    text: str

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.page}#{self.number}"

    @property
    def commands(self) -> list[str]:
        """Its lines without remarks; a line that ends with a backslash goes on."""
        joined = self.text.replace("\\\n", " ")
        lines = (re.sub(r"\s+# .*|\s+#$", "", line).strip() for line in joined.splitlines())
        return [line for line in lines if line and not line.startswith("#")]


# What no program here can run or read, and why. At most ten.
TEXT: Final = {
    "docs/architecture.md#1": "a tree of directories",
    "docs/kubernetes.md#1": "needs a registry of yours; tests/image builds the same image",
    "docs/kubernetes.md#3": "needs a cluster, with Secrets of yours",
    "docs/kubernetes.md#8": "needs a cluster with a claim that grows",
    "docs/kubernetes.md#9": "needs a cluster; tests/cluster names a key of its own",
    "docs/kubernetes.md#10": "needs a cluster; tests/cluster names a key of its own",
    "docs/kubernetes.md#11": "needs a cluster; tests/cluster uninstalls the chart",
    "docs/access.md#4": "needs a cluster, with a login of yours",
    "docs/object-storage.md#5": "Amazon's rules of a bucket: only Amazon reads them",
    "docs/object-storage.md#6": "Amazon's rights: only Amazon reads them",
}
# The first words of an example, and what is done with it; the first that fits. `run` runs every
# line, `check` has the program read it that it is for.
KINDS: Final = (
    ("run", "shell", r"curl http://127\.0\.0\.1:5000|\$ curl"),
    ("run", "lighterage", r"lighterage "),
    ("run", "containers", r"(# /etc/containers/[^\n]*\n)?\[\[registry\]\]"),
    ("run", "containerd", r"(# /etc/containerd/[^\n]*\n)?server = "),
    ("check", "containerd_itself", r"\[plugins\."),
    ("check", "make", r"make "),
    ("check", "module", r"\.venv/bin/python -m"),
    ("check", "helm", r"helm "),
    ("run", "docker", r'\{\s*"registry-mirrors"'),
    ("check", "redis", r"maxmemory "),
    ("check", "values", r"config:\n"),
    ("check", "settings", r"(access|blobs|conversion|manifests|peers|tags|upstreams):"),
)


def fences() -> Iterator[Fence]:
    """All of them."""
    for page in PAGES:
        for number, found in enumerate(_FENCE.finditer(page.read_text()), 1):
            yield Fence(str(page.relative_to(ROOT)), number, found[1], found[2])


def kind_of(fence: Fence) -> tuple[str, str]:
    """`run`, `check` or `text`, and by what; KeyError for an example that nobody thought of."""
    if fence.name in TEXT:
        return "text", TEXT[fence.name]
    for kind, by, pattern in KINDS:
        if re.match(pattern, fence.text):
            return kind, by
    raise KeyError(fence.name)
