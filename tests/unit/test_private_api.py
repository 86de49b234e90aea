"""What libraries keep to themselves and we use all the same: by name, so that its end is noticed.

The next minor version of such a library may rename it. pyproject.toml keeps that out, and a new
upper bound is written when this test passes with the new version.
"""

from __future__ import annotations

import ast
import asyncio
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Final

import aiohttp
import pytest
from aiohttp import web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.client_proto import ResponseHandler
from packaging.requirements import Requirement
from packaging.version import Version
from prometheus_client import values
from redis.asyncio import RedisCluster
from redis.asyncio.cluster import ClusterNode

from proxy.upstream.connection import UpstreamConnection, UpstreamConnector
from tests.kit.locks import pins

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parents[2]
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
BOUNDED: Final = ("aiohttp", "obstore", "prometheus-client", "redis")
# Of aiohttp's connection and request: slots, or set on every instance.
CONNECTION: Final = {
    *("_close", "_current_request", "_keepalive_timeout", "_loop", "_messages", "_parser"),
    *("_next_keepalive_close_time", "_request_count", "_request_handler", "_upgraded", "_waiter"),
}
REQUEST: Final = {"_message"}
BODY: Final = {"_buffer", "_buffer_offset"}


def _requirement(name: str) -> Requirement:
    extras = (text for extra in PROJECT["optional-dependencies"].values() for text in extra)
    found = map(Requirement, (*PROJECT["dependencies"], *extras))
    return next(requirement for requirement in found if requirement.name == name)


@pytest.mark.parametrize("name", BOUNDED)
def test_the_next_minor_version_is_kept_out(name: str) -> None:
    locked = Version(pins("requirements.lock")[name][0])
    following = f"{locked.major}.{locked.minor + 1}"
    assert _requirement(name).specifier.contains(locked)
    assert not _requirement(name).specifier.contains(following)


@pytest.mark.parametrize("attribute", sorted(CONNECTION))
def test_a_connection_has(attribute: str) -> None:
    assert hasattr(web.RequestHandler, attribute)


def test_a_connection_uses_its_parser_as_the_limit_of_heads_expects() -> None:
    source = ast.parse(Path(web.RequestHandler.__init__.__code__.co_filename).read_text())
    used = {
        node.attr
        for node in ast.walk(source)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Attribute)
        and node.value.attr == "_parser"
    }
    assert used == {"feed_data", "message_consumed", "set_upgraded"}


@pytest.mark.parametrize("attribute", sorted(REQUEST))
def test_a_request_has(attribute: str) -> None:
    source = ast.parse(Path(web.BaseRequest.__init__.__code__.co_filename).read_text())
    assert attribute in _assigned(source)


async def test_an_upstream_s_connection_has_a_parser_and_its_connector_a_factory() -> None:
    async with aiohttp.TCPConnector() as connector:
        made = connector._factory()
        assert isinstance(made, ResponseHandler)
        made.set_response_params()
        assert made._parser is not None
        assert hasattr(made._parser, "feed_data")
    async with UpstreamConnector() as ours:
        assert isinstance(ours._factory(), UpstreamConnection)


@pytest.mark.parametrize("attribute", sorted(BODY))
async def test_a_body_has(attribute: str) -> None:
    loop = asyncio.get_running_loop()
    body = aiohttp.StreamReader(BaseProtocol(loop), 2**16, loop=loop)
    body.feed_data(b"cargo")
    assert hasattr(body, attribute)


async def test_a_client_of_a_cluster_has_a_parser_of_commands_and_a_layout() -> None:
    client = RedisCluster(startup_nodes=[ClusterNode("127.0.0.1", 1)])
    assert hasattr(client.commands_parser, "get_keys")
    assert hasattr(client.commands_parser, "initialize")
    assert hasattr(client.nodes_manager, "initialize")
    await client.aclose()


def test_prometheus_has_values_that_are_chosen_by_a_function() -> None:
    assert callable(values.MultiProcessValue)
    assert hasattr(values, "ValueClass")


def test_nothing_else_of_aiohttps_connection_and_request_is_used() -> None:
    """`self._x` in their modules is ours, for it is assigned there, or in the lists above."""
    texts = [(ROOT / f"proxy/web/{name}.py").read_text() for name in ("connection", "request")]
    source = ast.parse("\n".join(texts).replace("from __future__ import annotations\n", ""))
    methods = {node.name for node in ast.walk(source) if isinstance(node, ast.FunctionDef)}
    assert _used(source) - _assigned(source) - methods == (CONNECTION | REQUEST) - {
        *("_keepalive_timeout", "_next_keepalive_close_time", "_parser"),  # assigned there
        *("_request_count", "_request_handler"),
    }


def _used(source: ast.AST) -> set[str]:
    return {node.attr for node in _own(source)}


def _assigned(source: ast.AST) -> set[str]:
    return {node.attr for node in _own(source) if isinstance(node.ctx, ast.Store)}


def _own(source: ast.AST) -> Iterator[ast.Attribute]:
    for node in ast.walk(source):
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "self"
            and node.attr.startswith("_")
            and not node.attr.startswith("__")
        ):
            yield node
