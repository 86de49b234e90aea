"""The cluster's DNS: what names there are, and how they are answered."""

from __future__ import annotations

import struct
from typing import Any, Final

import pytest

from tests.cluster.dns import answer, records

A: Final = 1
AAAA: Final = 28


def service(name: str, address: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "ops"}, "spec": {"clusterIP": address}}


def endpoints(service: str, *endpoints: dict[str, Any], headless: bool) -> dict[str, Any]:
    labels = {"kubernetes.io/service-name": service}
    if headless:
        labels["service.kubernetes.io/headless"] = ""
    return {
        "metadata": {"name": f"{service}-x", "namespace": "ops", "labels": labels},
        "addressType": "IPv4",
        "endpoints": list(endpoints),
    }


def pod(address: str, *, hostname: str = "", ready: bool = True) -> dict[str, Any]:
    named = {"hostname": hostname} if hostname else {}
    return {"addresses": [address], "conditions": {"ready": ready}, **named}


def query(name: str, kind: int = A) -> bytes:
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    return struct.pack("!6H", 7, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", kind, 1)


def test_a_service_has_its_own_address_and_a_headless_one_those_of_its_ready_pods() -> None:
    slices = [
        endpoints("web", pod("10.0.0.9"), headless=False),
        endpoints(
            "pods",
            pod("10.0.0.1", hostname="pod-0"),
            pod("10.0.0.2", hostname="pod-1", ready=False),
            pod("10.0.0.3"),
            headless=True,
        ),
    ]
    services = [service("web", "10.1.0.1"), service("pods", "None"), service("none", "None")]
    assert records(services, slices) == {
        "web.ops.svc.cluster.local": ["10.1.0.1"],
        "pods.ops.svc.cluster.local": ["10.0.0.1", "10.0.0.3"],
        "pod-0.pods.ops.svc.cluster.local": ["10.0.0.1"],
        "none.ops.svc.cluster.local": [],
    }


@pytest.mark.parametrize(
    ("kind", "found", "code", "addresses"),
    [
        (A, ["10.0.0.1", "10.0.0.3"], 0, [b"\x0a\0\0\x01", b"\x0a\0\0\x03"]),
        (AAAA, ["10.0.0.1"], 0, []),
        (A, None, 3, []),
    ],
    ids=["addresses", "of-another-kind", "no-such-name"],
)
def test_an_answer_repeats_the_question(
    kind: int, found: list[str] | None, code: int, addresses: list[bytes]
) -> None:
    asked = []

    def look_up(name: str) -> list[str] | None:
        asked.append(name)
        return found

    question = query("Web.ops.svc.cluster.local", kind)
    content = answer(question, look_up)
    number, flags, questions, answers, *_ = struct.unpack_from("!6H", content)
    assert (number, flags & 0xF, questions, answers) == (7, code, 1, len(addresses))
    assert content[12 : len(question)] == question[12:]
    assert [record[-4:] for record in chunks(content[len(question) :], 16)] == addresses
    assert asked == ["web.ops.svc.cluster.local"]


@pytest.mark.parametrize("query", [b"", b"\0" * 12, query("web")[:-3]])
def test_what_is_cut_off_is_no_query(query: bytes) -> None:
    with pytest.raises(ValueError, match=r"too short|cut off"):
        answer(query, lambda _: [])


def chunks(content: bytes, size: int) -> list[bytes]:
    return [content[start : start + size] for start in range(0, len(content), size)]
