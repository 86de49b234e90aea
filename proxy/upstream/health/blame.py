"""What a failure says about the registry: everything, one question, the account, or nothing."""

from __future__ import annotations

from enum import Enum, auto
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from proxy.errors import FailedAt, Phase, UpstreamSaturated, UpstreamThrottled, UpstreamUnavailable
from proxy.upstream.operation import Kind

if TYPE_CHECKING:
    from proxy.errors import UpstreamFailure
    from proxy.upstream.operation import Operation

_SERVER_ERROR: Final = 500


class Blame(Enum):
    """What has failed."""

    # The registry cannot be reached: whatever it is asked will fail.
    REGISTRY = auto()
    # One question, and others too if many repositories fail together.
    SERVICE = auto()
    # One question, whatever else fails.
    QUESTION = auto()
    # The rate limit of our account.
    ACCOUNT = auto()
    # Nothing beyond this answer; or the fault is ours: a limit, or a setting.
    NOTHING = auto()


def blame_for(operation: Operation, failure: UpstreamFailure) -> Blame:
    """Return what `failure` of the `operation` says about the registry."""
    context = failure.context
    if isinstance(failure, UpstreamThrottled):
        return Blame.QUESTION if context.at is FailedAt.REDIRECT else Blame.ACCOUNT
    if not _is_failure_of_the_service(failure):
        return Blame.NOTHING
    if operation.kind is Kind.MANIFEST_HEAD and failure.status is not None:
        # A GET decides, and counts for both: many registries answer HEAD worse than GET.
        return Blame.NOTHING if failure.retry_after is None else Blame.QUESTION
    if operation.is_listing or context.at is FailedAt.REDIRECT:
        return Blame.QUESTION
    unreachable = context.phase is Phase.CONNECT and context.at is FailedAt.REGISTRY
    return Blame.REGISTRY if unreachable else Blame.SERVICE


def _is_failure_of_the_service(failure: UpstreamFailure) -> bool:
    """Whether something there does not work: not our limits or settings, and not the content."""
    context = failure.context
    if not isinstance(failure, UpstreamUnavailable) or isinstance(failure, UpstreamSaturated):
        return False
    if context.phase is Phase.PREPARE:
        return False
    return context.at is FailedAt.TOKEN_SERVER or _is_server_error(context.status)


def _is_server_error(status: int | None) -> bool:
    """Whether the failure may be temporary; no answer at all counts as temporary."""
    return status is None or (status >= _SERVER_ERROR and status != HTTPStatus.NOT_IMPLEMENTED)
