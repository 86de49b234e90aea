"""The application of the admin listener: health, metrics, status, questions and purge."""

from __future__ import annotations

from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Protocol

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from proxy.errors import RegistryError, RequestInvalid
from proxy.oci.reference import Digest, Tag, parse_image
from proxy.web.admin.answers import as_json, read_object, refuse
from proxy.web.admin.assets import asset_routes
from proxy.web.admin.guard import AdminAccess, OneTimeFields, guard
from proxy.web.admin.kept import kept_routes
from proxy.web.admin.live import LivePage
from proxy.web.admin.pages.frame import wants_page
from proxy.web.admin.pages.handlers import QuestionPages, purge_done, purge_form
from proxy.web.admin.questions import question_routes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp.typedefs import Handler

    from proxy.web.admin.kept import OpensKept
    from proxy.web.admin.questions import AnswersQuestions
    from proxy.web.admin.status import Status

# How long a probe or scrape in progress may take at shutdown, in seconds.
_SHUTDOWN_TIMEOUT: Final = 1.0
_PURGED_BY: Final = ("repository", "tag", "digest", "content")
_MAX_WORDS: Final = 2
_PAGES: Final = (
    *("/", "/status", "/images", "/inspect", "/explain", "/purge"),
    *("/healthz", "/readyz", "/metrics"),
)


class Purge(Protocol):
    """Purges a repository, or one tag or digest of it; returns the resolved repository."""

    async def __call__(
        self, addressed: str, reference: Digest | Tag | None, *, content: bool = False
    ) -> object:
        """Purge, with `content` also the bytes.

        RegistryError if the name or reference is invalid or unknown.
        """
        ...


def admin_app(
    status: Status,
    *,
    purge: Purge,
    questions: AnswersQuestions | None = None,
    kept: OpensKept | None = None,
    access: AdminAccess | None = None,
) -> web.Application:
    """The pages for people, and `/healthz`, `/readyz`, `/metrics` and `/status` for programs.

    `/images`, `/inspect`, `/explain` and `/purge` are both: a browser gets a page. `/kept` is for
    programs, too.
    """
    readiness = status.readiness
    fields = OneTimeFields()

    async def healthz(_request: web.Request) -> web.Response:
        return web.Response(body=b"ok\n", content_type="text/plain")

    async def readyz(_request: web.Request) -> web.Response:
        code = HTTPStatus.OK if readiness.ready else HTTPStatus.SERVICE_UNAVAILABLE
        return as_json({"status": readiness.state, "warnings": readiness.warnings}, code)

    async def get_metrics(_request: web.Request) -> web.Response:
        found = await status.metrics()
        return web.Response(body=found, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def get_status(_request: web.Request) -> web.Response:
        return as_json(await status.document())

    async def post_purge(request: web.Request) -> web.Response:
        try:
            addressed, reference, content = await _parse_purge(request, fields)
            repository = await purge(addressed, reference, content=content)
        except RegistryError as error:
            return purge_done(fields, error=error) if wants_page(request) else refuse(error)
        if wants_page(request):
            what = reference or "every tag"
            done = f"The next pull of {repository} ({what}) asks the upstream."
            return purge_done(fields, done=done)
        return as_json({"purged": str(repository), "reference": reference, "content": content})

    async def get_purge(request: web.Request) -> web.Response:
        return purge_form(request, fields)

    app = web.Application(middlewares=[guard(access or AdminAccess()), _say_what_there_is])
    app.add_routes(
        [
            web.get("/healthz", healthz),
            web.get("/readyz", readyz),
            web.get("/metrics", get_metrics),
            web.get("/status", get_status),
            web.get("/purge", get_purge),
            web.post("/purge", post_purge),
            *LivePage(status).routes(),
            *asset_routes(),
            *(kept_routes(kept) if kept is not None else ()),
        ]
    )
    if questions is not None:
        pages = QuestionPages(questions, status.stored, fields)
        app.add_routes(question_routes(questions, status.stored, pages))
    return app


@web.middleware
async def _say_what_there_is(request: web.Request, handler: Handler) -> web.StreamResponse:
    """What is no page, and no method of one, is answered as other errors are."""
    try:
        return await handler(request)
    except web.HTTPNotFound as missing:
        message = f"there is no such page here; there are {', '.join(_PAGES)}"
        status, headers = missing.status, {}
    except web.HTTPMethodNotAllowed as wrong:
        allowed = ", ".join(sorted(wrong.allowed_methods))
        message = f"this page takes {allowed} only"
        status, headers = wrong.status, {"Allow": allowed}
    answer = refuse(RequestInvalid(message))
    answer.set_status(status)
    answer.headers.update(headers)
    return answer


async def _parse_purge(
    request: web.Request, fields: OneTimeFields
) -> tuple[str, Digest | Tag | None, bool]:
    """Parse `repository` and an optional `tag` or `digest` from the query, a JSON object or a form.

    The third value is `content`: whether the bytes are to be removed, too.

    A page of another site can post a form, but not JSON: so a form has a field of ours.
    """
    given: dict[str, object] = dict(request.query)
    if request.content_type == "application/x-www-form-urlencoded":
        given |= await _read_form(request, fields)
    elif request.can_read_body:
        given |= await read_object(request)
    unknown = given.keys() - _PURGED_BY
    if unknown:
        raise RequestInvalid(f"there is no {min(unknown)!r} here; say {', '.join(_PURGED_BY)}")
    words = {key: value for key, value in given.items() if value is not None}
    content = _is_content(words.pop("content", False))
    if not all(isinstance(value, str) for value in words.values()):
        raise RequestInvalid("repository, tag and digest are strings")
    if "repository" not in words or len(words) > _MAX_WORDS:
        raise RequestInvalid("say which repository, and at most one of tag and digest")
    digest, tag = words.get("digest"), words.get("tag")
    reference = Digest(str(digest)) if digest else Tag(str(tag)) if tag else None
    return str(words["repository"]), reference, content


def _is_content(value: object) -> bool:
    """Whether the content is meant, too: by true in JSON, by a word in a form or a query."""
    if isinstance(value, bool):
        return value
    if value not in {"true", "on", "1"}:
        raise RequestInvalid("content is true or false")
    return True


async def _read_form(request: web.Request, fields: OneTimeFields) -> dict[str, object]:
    """What a form of ours names, by its parts or as one `image`."""
    form = dict(await request.post())
    if not fields.redeem(str(form.pop("csrf", ""))):
        raise RequestInvalid("the form is not from this listener, or was used before")
    given: dict[str, object] = {key: value for key, value in form.items() if value}
    if isinstance(image := given.pop("image", None), str):
        repository, reference = parse_image(image.strip())
        kind = "digest" if isinstance(reference, Digest) else "tag"
        given |= {"repository": repository, kind: reference}
    return given


@asynccontextmanager
async def listening(app: web.Application, address: tuple[str, int]) -> AsyncIterator[None]:
    """Listen on `address` while the block runs; OSError if that fails."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_TIMEOUT)
    await runner.setup()
    try:
        await web.TCPSite(runner, *address).start()
        yield
    finally:
        await runner.cleanup()
