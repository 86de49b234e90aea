"""The project speaks the language of its field, in words that readers find elsewhere, too.

Each rule is a word or phrase that stood here once, and what HTTP caching (RFC 9111, 5861), the
distribution specification or plain English calls the same thing.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parents[1]
SUFFIXES: Final = {"", ".md", ".py", ".tpl", ".txt", ".yaml"}

# Identifiers, as they are written. `\b` and `_` are meant: `Pinned` and `unsettled` are words.
IDENTIFIERS: Final = {
    r"\b(class )?Pin\b(?! the)": "TagEntry",
    r"\bRefusals\b": "NegativeCache, RefusalReason",
    r"\bOriginals\b": "UpstreamManifests",
    r"\bDerivations\b": "Conversions",
    r"\bEpoch\b": "Generation",
    r"\bGuarded\b": "CircuitBreaker, ResilientUpstream",
    r"\bObstacles?\b": "RefusalReason",
    r"\bobstacles?\b": "reason",
    r"\bPatience\b": "Timeout",
    r"\bvoid_before\b|\bvoid\(": "invalidate_before",
    r"\bAttempts\b": "RetryBudget",
    r"\bManner\b": "RedisOptions",
    r"\bmanner\b": "options",
    r"\bStock\b": "DiskQuota",
    r"\bAsking\b": "BucketCalls",
    r"\bFolders\b": "FsyncBatch",
    r"\bSeal\b": "VerifiedStamp",
    r"\bReached[.(:]": "ProxyAddress",
    r"\bclass Given\b|\bGiven\(": "ServeArguments",
    r"\b_?Crew\b": "WorkerPool",
    r"\b_obey\b": "the verb for what is done",
    r"\bupstairs\b": "supervisor",
    r"\bnofile\.|\"nofile\"": "rlimits",
    r"\b_lacks\b|\blacks\(": "shortfall",
}

# Phrases, in any case and over the end of a line.
PHRASES: Final = {
    r"\bpatience\b": "timeout",
    r"\bdistrust": "quarantine",
    r"\bsettles?\b": "persist, decide",
    r"\bwhoever\b": "a noun, and then who: the client that, every process that",
    r"\bspare[sd]?\b": "circuit open, not contacted, saved",
    r"\bbelieve[sd]?\b": "fresh, cached for",
    r"\b(left|leave|leaves|leaving) (it |an upstream |the upstream )?alone\b": "circuit open",
    r"\bput aside\b": "quarantined",
    r"\b(go|goes|went) on where (it|that) (broke off|stopped)\b": "resumed by Range",
    r"\b(break|breaks|broke|broken) off\b": "interrupted, ends early",
    r"\bwho (asks|comes|wants|waits|reads|stops|pulls|reaches)\b": "the client that …",
    r"\bwould go\b": "would be evicted, would be removed",
    r"\b(what|those) goe?s?\b": "is evicted, is removed",
    r"\bin vain\b": "without success, failed",
    r"\bas ever\b": "as before, as usual",
    r"\btaken over while\b": "applied while",
    r"\bout of patience\b": "rate-limited",
    r"\bread along\b": "read while it is written, followed",
    r"\bmove in\b": "prepare, open",
    r"\btold so\b": "an error says so",
    r"\bto blame\b": "the cause",
    r"\bfor good\b": "permanently",
    r"\bhas come\b": "has arrived, has been received",
    r"\bon its way\b": "being fetched, being uploaded",
    r"\banew\b": "again",
    r"\bin (its|their) books\b": "counts as",
    r"\bnext to nothing\b": "too small",
}

# Packages and files that are not yet held to the rules.
PENDING: Final[set[str]] = set()

# A function's name says what it does (a verb) or what it gives (a noun). What happened is a verb
# that is over: it is left to log events, and to properties and predicates that say how things are.
_IRREGULAR: Final = {
    *("made", "told", "kept", "got", "held", "sent", "given", "done", "found", "taken", "built"),
    *("gone", "known", "written", "shown", "seen", "lent", "begun"),
}
_NO_PARTICIPLES: Final = {"need", "feed", "embed", "seed", "exceed", "proceed", "speed", "succeed"}


def _texts() -> Iterator[Path]:
    for place in ("proxy", "docs", "helm", "config"):
        yield from (
            path
            for path in sorted((ROOT / place).rglob("*"))
            if path.is_file() and path.suffix in SUFFIXES and "__pycache__" not in path.parts
        )
    yield from (ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"))


def _rules() -> Iterator[tuple[re.Pattern[str], str]]:
    for pattern, replacement in IDENTIFIERS.items():
        yield re.compile(pattern), replacement
    for pattern, replacement in PHRASES.items():
        # A phrase may be broken by the end of a line, and by the mark of the next line's comment.
        yield re.compile(pattern.replace(" ", r"[\s#>*]+"), re.IGNORECASE), replacement


def objections(text: str) -> list[str]:
    """What `text` says in words that are not the field's: LINE: WORD → say REPLACEMENT."""
    found = [
        (text.count("\n", 0, match.start()) + 1, " ".join(match[0].split()), replacement)
        for rule, replacement in _rules()
        for match in rule.finditer(text)
    ]
    return [f'{line}: {words} → say "{replacement}"' for line, words, replacement in sorted(found)]


def participles(source: str) -> list[str]:
    """The functions of `source` that are named by what happened, and not by what they do."""
    return [
        f"{node.lineno}: {node.name} → say what it does, or what it gives"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and _is_participle(node.name.strip("_"))
        and not _says_how_things_are(node)
    ]


def _is_participle(name: str) -> bool:
    return name in _IRREGULAR or bool(
        re.fullmatch(r"[a-z]+ed", name) and name not in _NO_PARTICIPLES
    )


def _says_how_things_are(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """A property, or a predicate: `transfer.committed`, `upstream.failed()`."""
    decorators = {ast.unparse(decorator) for decorator in node.decorator_list}
    returns = ast.unparse(node.returns) if node.returns else ""
    return bool(decorators & {"property", "cached_property"}) or returns == "bool"


def _is_pending(path: Path) -> bool:
    relative = path.relative_to(ROOT)
    return any(str(place) in PENDING for place in (relative, *relative.parents))


CHECKED: Final = [path for path in _texts() if not _is_pending(path)]


@pytest.mark.parametrize("path", CHECKED, ids=lambda path: str(path.relative_to(ROOT)))
def test_words_are_the_fields(path: Path) -> None:
    name, text = path.relative_to(ROOT), path.read_text()
    found = objections(text) + (participles(text) if path.suffix == ".py" else [])
    assert not found, "\n" + "\n".join(f"{name}:{objection}" for objection in found)


def test_what_is_pending_exists() -> None:
    assert all((ROOT / place).exists() for place in PENDING)


@pytest.mark.parametrize(
    "text",
    [
        "class Pin:",
        "settings.refused.Obstacle",
        "an upstream that is left\nalone",
        "# the upstream is left\n# alone for a second",
        "Whoever asks next",
        "A tag is believed for a minute",
        "patience",
    ],
)
def test_a_private_word_is_found(text: str) -> None:
    assert objections(text)


@pytest.mark.parametrize(
    "text",
    ["a digest pins an image", "an unsettled question", "the circuit is open", "unbelievable"],
)
def test_a_common_word_is_no_private_one(text: str) -> None:
    assert objections(text) == []


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("def _asked() -> str: ...", 1),
        ("async def _told() -> None: ...", 1),
        ("class A:\n    def fetched(self) -> bytes: ...", 1),
        ("class A:\n    @property\n    def committed(self) -> str: ...", 0),
        ("def failed() -> bool: ...", 0),
        ("def feed() -> None: ...", 0),
        ("def fetch() -> bytes: ...", 0),
    ],
)
def test_a_participle_is_no_name_for_an_act(source: str, count: int) -> None:
    assert len(participles(source)) == count
