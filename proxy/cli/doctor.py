"""`lighterage doctor`: what an operator would look at first."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from proxy.cli.checks import is_running
from proxy.cli.group import AS_JSON, CONFIG, DATA, FAILED, from_arguments, main, read

if TYPE_CHECKING:
    from pathlib import Path

    from proxy.runtime.doctor import Finding

_MARKS = {"ok": "ok     ", "warning": "warning", "failed": "FAILED "}


@main.command()
@CONFIG
@DATA
@click.option("--upstream", metavar="URL", help="The registry, as `serve` is told.")
@AS_JSON
def doctor(config: Path | None, data: Path | None, upstream: str | None, *, as_json: bool) -> None:
    """Check files, rights, ports, clock, descriptors, upstreams, logins, stores, peers and clients.

    The upstreams, Redis, the bucket and the peers are asked, once each. Works without a running
    proxy. Exit status 1 if something failed; 0 if there are only warnings.
    """
    from proxy.config import ServeArguments  # noqa: PLC0415 -- see the package's docstring

    loaded = read(ServeArguments(config, from_arguments(data=data), upstream).read)
    import asyncio  # noqa: PLC0415

    import structlog  # noqa: PLC0415

    from proxy.runtime.doctor import State, examine  # noqa: PLC0415

    # The findings have what the log would say.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("critical"))
    findings: list[Finding] = []

    async def run() -> None:
        async for finding in examine(loaded, is_running=is_running(loaded.settings)):
            findings.append(finding)
            if not as_json:
                click.echo(f"{_MARKS[finding.state]}  {finding.subject}: {finding.message}")

    asyncio.run(run())
    if as_json:
        document = [
            {"subject": each.subject, "state": each.state, "message": each.message}
            for each in findings
        ]
        click.echo(json.dumps(document, indent=2))
    if any(finding.state is State.FAILED for finding in findings):
        sys.exit(FAILED)
