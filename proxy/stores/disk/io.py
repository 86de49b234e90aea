"""The edge of a store: its errors are those that the ports promise."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar, overload

from proxy.errors import StoreError
from proxy.kit.threads import in_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")


@contextmanager
def store_errors() -> Iterator[None]:
    """Raise a StoreError in place of an OSError."""
    try:
        yield
    except OSError as error:
        raise StoreError(str(error)) from error


@overload
async def in_store_thread(
    work: Callable[[], T], *, cleanup: Callable[[T], object] | None = None
) -> T: ...


@overload
async def in_store_thread(
    work: Callable[[], T | None], *, cleanup: Callable[[T], object]
) -> T | None: ...


async def in_store_thread(
    work: Callable[[], T | None], *, cleanup: Callable[[T], object] | None = None
) -> T | None:
    """Run `work` as `in_thread` does, with a StoreError in place of an OSError."""
    with store_errors():
        return await in_thread(work, cleanup=cleanup)
