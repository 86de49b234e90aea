"""How long an admission holds, and what it says of the request that it is for."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter

from proxy.web.access_log import AccessLogLine
from proxy.web.admission import Admission, Validity


def _counter() -> Counter:
    return Counter("admitted", "Requests.", registry=CollectorRegistry())


def _on(principal: str) -> Any:
    return SimpleNamespace(principal=principal)


NOW: Final = 100.0


def test_it_holds_until_its_end_and_no_longer() -> None:
    admission = Admission("basic:ann", NOW, _counter())
    assert admission.holds(math.nextafter(NOW, 0))
    assert not admission.holds(NOW)


def test_all_of_one_validity_end_at_once() -> None:
    validity, another = Validity(), Validity()
    ended = [Admission(validity=validity), Admission("basic:ann", NOW, _counter(), validity)]
    held = Admission("basic:bob", NOW, _counter(), another)
    validity.has_ended = True
    assert [each.holds(0) for each in ended] == [False, False]
    assert held.holds(0)


def test_what_is_for_one_request_only_never_holds() -> None:
    assert not Admission("basic:ann", -math.inf, _counter()).holds(0)


def test_each_further_request_is_counted_and_has_the_principal_in_its_line() -> None:
    counter, line = _counter(), AccessLogLine.begin()
    admission = Admission("basic:ann", NOW, counter)
    admission.note(line)
    assert (line.admission, line.private, line.principal) == (admission, True, "basic:ann")
    assert counter._value.get() == 0
    admission.apply(line)
    assert counter._value.get() == 1


def test_what_everybody_may_have_is_nobodys_own() -> None:
    line, everybody = AccessLogLine.begin(), Admission()
    everybody.apply(line)
    assert (line.admission, line.private, line.principal) == (everybody, False, "")
    assert everybody.holds(1e12)
    assert everybody.is_counted_on(_on("basic:ann"))


def test_a_connection_counts_for_the_principal_of_its_last_admission() -> None:
    admission = Admission("basic:ann", NOW, _counter())
    assert admission.is_counted_on(_on("basic:ann"))
    assert not admission.is_counted_on(_on("basic:bob"))
