"""The cluster's DNS: addresses of Services, and of the pods of headless ones (RFC 1035, over UDP).

    python -m tests.cluster.dns CREDENTIALS

It follows Kubernetes' DNS specification as far as A records go. Nothing outside the cluster has a
name: the network that it serves has no outside.
"""

from __future__ import annotations

import socket
import struct
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.cluster.addresses import DNS, DOMAIN
from tests.cluster.api import Api, ApiError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_HEADER: Final = struct.Struct("!6H")
_A: Final = 1
_IN: Final = 1
_NAME_ERROR: Final = 3
_SERVER_FAILURE: Final = 2
# Answer, authoritative, recursion available.
_ANSWER: Final = 0x8480
_RECURSION_DESIRED: Final = 0x0100
_POINTER_TO_QUESTION: Final = 0xC00C
# Seconds: what a client may keep, and what this program keeps of the API's answers.
_TTL: Final = 1
_KEPT: Final = 0.5


def records(
    services: Iterable[dict[str, Any]], slices: Iterable[dict[str, Any]]
) -> dict[str, list[str]]:
    """Every name of the cluster, and its addresses: none for a headless Service without pods."""
    found: dict[str, list[str]] = {}
    for service in services:
        name, address = _name(service["metadata"]), service["spec"].get("clusterIP")
        if address:
            found[name] = [] if address == "None" else [address]
    for each in slices:
        labels = each["metadata"].get("labels", {})
        service = labels.get("kubernetes.io/service-name")
        name = _name({"name": service, "namespace": each["metadata"]["namespace"]})
        if each["addressType"] != "IPv4" or service is None or name not in found:
            continue
        headless = "service.kubernetes.io/headless" in labels
        for endpoint in each.get("endpoints") or []:
            # Of a Service that publishes pods that are not ready, all endpoints are `ready`.
            if not endpoint.get("conditions", {}).get("ready", True) or not headless:
                continue
            found[name] += endpoint["addresses"]
            if hostname := endpoint.get("hostname"):
                found[f"{hostname}.{name}"] = endpoint["addresses"]
    return found


def answer(query: bytes, look_up: Callable[[str], list[str] | None]) -> bytes:
    """The answer to a query of one question. `look_up` says None for a name that there is not.

    ValueError for what is no query.
    """
    if len(query) <= _HEADER.size:
        raise ValueError("too short for a query")
    number, flags, *_ = _HEADER.unpack_from(query)
    name, end = _question(query)
    kind, network = struct.unpack_from("!2H", query, end - 4)
    question = query[_HEADER.size : end]
    flags = _ANSWER | flags & _RECURSION_DESIRED
    try:
        found = look_up(name)
    except ApiError:
        return _HEADER.pack(number, flags | _SERVER_FAILURE, 1, 0, 0, 0) + question
    if found is None:
        return _HEADER.pack(number, flags | _NAME_ERROR, 1, 0, 0, 0) + question
    addresses = found if (kind, network) == (_A, _IN) else []
    body = b"".join(
        struct.pack("!3HIH", _POINTER_TO_QUESTION, _A, _IN, _TTL, 4) + socket.inet_aton(address)
        for address in addresses
    )
    return _HEADER.pack(number, flags, 1, len(addresses), 0, 0) + question + body


def _question(query: bytes) -> tuple[str, int]:
    """The name that is asked for, in lower case, and where the question ends."""
    labels, position = [], _HEADER.size
    while position < len(query) and (length := query[position]):
        labels.append(query[position + 1 : position + 1 + length])
        position += 1 + length
    end = position + 5  # the root, the type and the class
    if end > len(query):
        raise ValueError("the question is cut off")
    return b".".join(labels).decode("ascii", "replace").lower(), end


def _name(metadata: dict[str, Any]) -> str:
    return f"{metadata['name']}.{metadata['namespace']}.svc.{DOMAIN}"


class _Directory:
    """What the API knows, asked again when it is needed and half a second old."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._records: dict[str, list[str]] = {}
        self._until = 0.0

    def look_up(self, name: str) -> list[str] | None:
        if not name.endswith(f".{DOMAIN}"):
            return None
        if time.monotonic() > self._until:
            slices = self._api.list("/apis/discovery.k8s.io/v1/endpointslices")
            self._records = records(self._api.list("/api/v1/services"), slices)
            self._until = time.monotonic() + _KEPT
        return self._records.get(name)


def main(credentials: Path) -> None:
    """Serve until it is killed."""
    directory = _Directory(Api(credentials))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((DNS, 53))
        while True:
            query, client = server.recvfrom(4096)
            try:
                server.sendto(answer(query, directory.look_up), client)
            except (ValueError, struct.error, OSError) as error:
                sys.stderr.write(f"{client}: {error}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
