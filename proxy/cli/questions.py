"""Commands about one image: `inspect` and `explain`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import click

from proxy.cli.group import AS_JSON, CONFIG, DATA, USAGE, fail, from_arguments, main, read
from proxy.cli.running import ADMIN, ask_proxy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# The keys of `proxy.oci.clients.CLIENTS`.
CLIENTS = (
    "docker-1.9",
    "docker-1.13",
    "docker-20",
    "docker-28",
    "docker-29",
    "containerd",
    "podman",
    "kaniko",
    "curl",
)
IMAGE = "REPOSITORY[:TAG|@DIGEST]"


@main.command()
@click.argument("image", metavar=IMAGE)
@CONFIG
@DATA
@click.option("--upstream", metavar="URL", help="The registry, as `serve` was told.")
@AS_JSON
def inspect(
    image: str, config: Path | None, data: Path | None, upstream: str | None, *, as_json: bool
) -> None:
    """Show what is stored of an image, and every representation: which client gets it, or why not.

    No upstream is asked, and nothing is changed. Works without a running proxy. Exit status 2 if
    nothing is stored.
    """
    from proxy.config import ServeArguments  # noqa: PLC0415 -- see the package's docstring

    settings = read(ServeArguments(config, from_arguments(data=data), upstream).read).settings
    if not settings.data.is_dir():
        fail(f"there is no data directory {settings.data.absolute()}", USAGE)
    import asyncio  # noqa: PLC0415

    import structlog  # noqa: PLC0415

    from proxy.errors import RegistryError  # noqa: PLC0415
    from proxy.wiring.questions import open_questions  # noqa: PLC0415

    # The answer has what the log would say.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("critical"))

    async def ask() -> dict[str, Any]:
        async with open_questions(settings) as questions:
            return await questions.inspect(image)

    try:
        answer = asyncio.run(ask())
    except RegistryError as error:
        fail(error.message, USAGE)
    except (OSError, ValueError) as error:
        fail(f"the store cannot be opened: {error}")
    click.echo(json.dumps(answer, indent=2) if as_json else "\n".join(_inspection(answer)))


@main.command()
@click.argument("image", metavar=IMAGE)
@click.option("--as", "client", type=click.Choice(CLIENTS), help="Ask as this client would.")
@click.option("--accept", multiple=True, metavar="TYPE", help="Ask with this Accept header.")
@click.option("--user", metavar="NAME", help="Ask as this user of the htpasswd file.")
@click.option("--no-accept", is_flag=True, help="Ask without an Accept header, as docker 1.9.")
@ADMIN
@CONFIG
@AS_JSON
def explain(
    image: str,
    *,
    client: str | None,
    accept: tuple[str, ...],
    user: str | None,
    admin: str | None,
    config: Path | None,
    no_accept: bool,
    as_json: bool,
) -> None:
    """Show how the running proxy would answer a pull now, and what that would cost upstream.

    The pull is containerd's unless --as, --accept or --no-accept is given. No upstream is asked,
    and nothing is changed.
    """
    if sum((client is not None, bool(accept), no_accept)) > 1:
        fail("give one of --as, --accept and --no-accept", USAGE)
    query = [("image", image), *(("accept", line) for line in accept)]
    if client is not None:
        query.append(("as", client))
    if user is not None:
        query.append(("user", user))
    if no_accept:
        query.append(("no-accept", ""))
    answer = ask_proxy(f"/explain?{urlencode(query)}", admin, config)
    click.echo(json.dumps(answer, indent=2) if as_json else "\n".join(_explanation(answer)))


def _name(answer: dict[str, Any]) -> str:
    mark = "@" if ":" in answer["reference"] else ":"
    return f"{answer['upstream']}/{answer['repository']}{mark}{answer['reference']}"


def _inspection(answer: dict[str, Any]) -> Iterator[str]:
    stored = answer["stored"]
    origin = ", from a mirror, while the registry was down" if answer["from_mirrors"] else ""
    yield f"{_name(answer)} is stored as {stored['form']}, {stored['digest']}{origin}"
    for layer in stored.get("layers", ()):
        size = "" if layer.get("size") is None else f", {layer['size']} bytes"
        yield f"  layer {layer['digest']}{size}"
    for entry in stored.get("manifests", ()):
        yield f"  {entry['platform'] or 'no platform'}  {entry['digest']}"
    for made in answer["representations"]:
        clients = ", ".join(made["serves"])
        if made["digest"] is None:
            whom = f" for {clients}" if clients else ""
            yield f"no {made['form'] or 'answer'}{whom}: {made['reason']}"
            continue
        state = "stored" if made["exists"] else "made when it is asked for"
        yield f"{made['form']}  {made['digest']}  ({state})"
        yield f"  for {clients}" if clients else "  for a client that names only this type"


def _access(answer: dict[str, Any]) -> str:
    rule = answer["access"]
    whom = "a client without a login" if answer["user"] is None else answer["user"]
    verdicts = {
        True: "every client may pull" if rule["mode"] == "open" else f"{whom} may pull",
        False: "nobody may pull" if rule["mode"] == "deny" else f"{whom} may not pull",
        None: "the registry decides, by the client's own login there",
    }
    reason = f" ({rule['reason']})" if rule["reason"] else ""
    return f"{rule['mode']}, by the rule for {rule['match']}: {verdicts[rule['may_pull']]}{reason}"


def _explanation(answer: dict[str, Any]) -> Iterator[str]:
    yield f"image           {_name(answer)}"
    accepted = ", ".join(answer["accept"]) or "nothing: there is no Accept header"
    if note := answer.get("note"):
        yield f"note            {note}"
    yield f"client          {answer['client'] or 'any'}, accepts {accepted}"
    yield f"access          {_access(answer)}"
    yield f"cached copy     {answer['state']}"
    made = answer["representation"]
    if made is None:
        yield "representation  depends on what the upstream answers"
    elif "code" in made:
        yield f"refused         {made['code']}: {made['message']}"
    else:
        yield f"representation  {made['form']}, {made['digest']} (rule: {made['rule']})"
        if made["converted_from"]:
            yield f"converted from  {made['converted_from']}"
    yield f"upstream calls  {len(answer['calls']) or 'none'}"
    for call in answer["calls"]:
        yield f"  {call}"
