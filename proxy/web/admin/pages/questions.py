"""The pages with forms: images, inspect, explain and purge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from proxy.oci.clients import CLIENTS
from proxy.web.admin.pages import figures
from proxy.web.admin.pages.frame import page, problem
from proxy.web.admin.pages.markup import Child, Markup, tag
from proxy.web.admin.pages.sections import section
from proxy.web.admin.pages.tables import Column, table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Rows of a table; JSON has all of them.
_ROWS: Final = 500
_MIRRORS: Final = "a mirror, while the registry was down"


def images_page(
    pattern: str, found: Sequence[Mapping[str, Any]] | None, now: float, error: str = ""
) -> str:
    """The stored images, and a form to search them."""
    form = _form(
        "images",
        "Find",
        _field("pattern", "Part of a name, or a pattern with *", pattern, required=False),
    )
    listed = section("found", "Stored images", _images(found or [], now))
    return page("Images", tag("h1", "Images"), form, _result(error, listed))


def inspect_page(image: str, answer: Mapping[str, Any] | None, field: str, error: str = "") -> str:
    """What is stored of an image; `field` is for the purge button."""
    form = _form("inspect", "Inspect", _field("image", "Image", image))
    content = None if answer is None else _inspection(answer, image, field)
    return page("Inspect", tag("h1", "Inspect"), form, _result(error, content))


def explain_page(
    given: Mapping[str, str], answer: Mapping[str, Any] | None, error: str = ""
) -> str:
    """How a pull would be answered."""
    chosen = given.get("as") or ("" if given.get("accept") else "containerd")
    options = [tag("option", name, value=name, selected=name == chosen) for name in ("", *CLIENTS)]
    form = _form(
        "explain",
        "Explain",
        _field("image", "Image", given.get("image", "")),
        tag(
            "div",
            tag("label", "As this client", for_="as"),
            tag("select", options, id="as", name="as"),
        ),
        _field("accept", "Or with this Accept header", given.get("accept", ""), required=False),
        _field("user", "As this user", given.get("user", ""), required=False),
    )
    content = None if answer is None else _explanation(answer)
    return page("Explain", tag("h1", "Explain"), form, _result(error, content))


def purge_page(field: str, *, image: str = "", done: str = "", error: str = "") -> str:
    """The form, and what came of it."""
    form = _form(
        "purge",
        "Purge",
        _field("image", "Image", image),
        tag("input", type="hidden", name="csrf", value=field),
        method="post",
    )
    note = tag("p", "The next pull of the tag, or of every tag, asks the upstream.", class_="note")
    told = tag("p", done, class_="done", role="status") if done else None
    return page("Purge", tag("h1", "Purge"), note, form, _result(error, told))


def purge_button(image: str, field: str) -> Markup:
    """A form of one button."""
    return tag(
        "form",
        tag("input", type="hidden", name="image", value=image),
        tag("input", type="hidden", name="csrf", value=field),
        tag("button", f"Purge {image}"),
        method="post",
        action="purge",
        class_="action",
    )


def _result(error: str, content: Child) -> Child:
    return problem(error) if error else content


def _form(action: str, button: str, *fields: Child, method: str = "get") -> Markup:
    return tag("form", fields, tag("button", button), method=method, action=action, class_="ask")


def _field(name: str, label: str, value: str, *, required: bool = True) -> Markup:
    return tag(
        "div",
        tag("label", label, for_=name),
        tag(
            "input",
            id=name,
            name=name,
            value=value,
            required=required,
            autocomplete="off",
            autocapitalize="none",
            spellcheck="false",
        ),
    )


def _images(found: Sequence[Mapping[str, Any]], now: float) -> Child:
    rows = []
    for each in found[:_ROWS]:
        name = f"{each['repository']}:{each['tag']}"
        rows.append(
            (
                tag("a", name, href=f"inspect?{urlencode({'image': name})}"),
                tag("code", each["digest"]),
                each["form"],
                figures.size(each["size"]),
                figures.moment(each["used_at"], now),
            )
        )
    columns = (
        Column("Image", "name"),
        Column("Digest", "long"),
        Column("Form"),
        Column("Size", "number"),
        Column("Last use"),
    )
    shown = table("Stored images", columns, rows, nothing="No such image is stored.")
    return [_cut(len(found)), shown]


def _cut(count: int) -> Child:
    if count <= _ROWS:
        return None
    return tag("p", f"The first {_ROWS} of {figures.number(count)}.", class_="note")


def _name(answer: Mapping[str, Any]) -> str:
    mark = "@" if ":" in answer["reference"] else ":"
    return f"{answer['upstream']}/{answer['repository']}{mark}{answer['reference']}"


def _inspection(answer: Mapping[str, Any], image: str, field: str) -> Child:
    stored = answer["stored"]
    made = [
        (
            each["form"] or figures.NONE,
            tag("code", each["digest"]) if each["digest"] else figures.NONE,
            _state(each),
            ", ".join(each["serves"]) or figures.NONE,
        )
        for each in answer["representations"]
    ]
    parts = [
        (
            tag("code", each["digest"]),
            each.get("platform") or each.get("type") or figures.NONE,
            figures.size(each.get("size")),
        )
        for each in (*stored.get("layers", ()), *stored.get("manifests", ()))
    ]
    return [
        section(
            "stored",
            _name(answer),
            _facts(
                ("Stored as", stored["form"]),
                *([("From", _MIRRORS)] if answer["from_mirrors"] else []),
                ("Digest", tag("code", stored["digest"])),
                ("Manifest", figures.size(stored["size"])),
            ),
            purge_button(image, field),
        ),
        section(
            "representations",
            "Representations",
            table(
                "Representations",
                (
                    Column("Form", "name"),
                    Column("Digest", "long"),
                    Column("State"),
                    Column("Serves"),
                ),
                made,
                nothing="There are none.",
            ),
        ),
        section(
            "parts",
            "Layers and images",
            _cut(len(parts)),
            table(
                "Layers and images",
                (Column("Digest", "long"), Column("Platform or type"), Column("Size", "number")),
                parts[:_ROWS],
                nothing="There are none.",
            ),
        ),
    ]


def _state(made: Mapping[str, Any]) -> str:
    if made["digest"] is None:
        return str(made["reason"])
    return "stored" if made["exists"] else "made when it is asked for"


def _explanation(answer: Mapping[str, Any]) -> Child:
    access = answer["access"]
    pull = {True: "may pull", False: "may not pull", None: "the registry decides"}
    rule = f"{access['mode']}, by the rule for {access['match']}: {pull[access['may_pull']]}"
    calls = [tag("li", call) for call in answer["calls"]]
    return section(
        "answer",
        _name(answer),
        _facts(
            *([("Note", answer["note"])] if answer["note"] else []),
            ("Client", answer["client"] or "any"),
            ("Accepts", ", ".join(answer["accept"]) or "nothing: there is no Accept header"),
            ("Access", f"{rule} ({access['reason']})" if access["reason"] else rule),
            ("Cached copy", answer["state"]),
            *_representation(answer["representation"]),
            ("Upstream requests", tag("ol", calls) if calls else "none"),
        ),
    )


def _representation(made: Mapping[str, Any] | None) -> list[tuple[str, Child]]:
    if made is None:
        return [("Representation", "depends on what the upstream answers")]
    if "code" in made:
        return [("Refused", f"{made['code']}: {made['message']}")]
    facts: list[tuple[str, Child]] = [
        ("Representation", made["form"]),
        ("Digest", tag("code", made["digest"])),
        ("Rule", made["rule"]),
    ]
    if made["converted_from"]:
        facts.append(("Converted from", tag("code", made["converted_from"])))
    return facts


def _facts(*facts: tuple[str, Child]) -> Markup:
    return tag("dl", [tag("div", tag("dt", name), tag("dd", value)) for name, value in facts])
