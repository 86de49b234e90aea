"""A login that is not taken is a warning until it is, and each change is logged once."""

from __future__ import annotations

import structlog

from proxy.upstream.auth.login_watch import LoginWatch


def test_a_refused_login_is_a_warning_until_it_is_accepted() -> None:
    warnings: dict[str, str] = {"other": "stays"}
    watch = LoginWatch("docker.io", warnings)
    with structlog.testing.capture_logs() as log:
        watch.record_refused("docker.io answered 401")
        watch.record_refused("docker.io answered 401")
    assert warnings == {
        "other": "stays",
        "login.docker.io": "docker.io answered 401; correct credentials of docker.io",
    }
    assert [each["event"] for each in log] == ["upstream.login_refused"]
    with structlog.testing.capture_logs() as log:
        watch.record_accepted()
        watch.record_accepted()
    assert warnings == {"other": "stays"}
    assert [each["event"] for each in log] == ["upstream.login_accepted"]


def test_a_login_that_was_always_accepted_is_not_worth_a_line() -> None:
    warnings: dict[str, str] = {}
    with structlog.testing.capture_logs() as log:
        LoginWatch("docker.io", warnings).record_accepted()
    assert (log, warnings) == ([], {})


def test_the_warning_is_about_what_is_wrong_now_and_about_this_upstream() -> None:
    warnings: dict[str, str] = {}
    one, other = LoginWatch("docker.io", warnings), LoginWatch("quay.io", warnings)
    other.record_refused("quay.io answered 401")
    one.record_refused("docker.io answered 401")
    with structlog.testing.capture_logs() as log:
        one.record_unreadable("/run/login: No such file or directory")
    assert warnings["login.docker.io"] == "/run/login: No such file or directory"
    assert [each["event"] for each in log] == ["upstream.login_unreadable"]
    one.record_accepted()
    assert list(warnings) == ["login.quay.io"]
