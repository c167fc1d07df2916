"""The way in and out: a login with the workspace's token or a link that works once, and a logout."""

from http import HTTPStatus
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from freehold.control.services.journal import Journal
from freehold.dashboard.access import COOKIE, ROOT, SESSION_LIFE, STORY, Access, Session
from freehold.dashboard.acting import field
from freehold.dashboard.guard import SESSION
from freehold.dashboard.views import Views


class Doors:
    def __init__(self, access: Access, views: Views, journal: Journal) -> None:
        self._access = access
        self._journal = journal
        self._views = views
        self.routes = [
            Route("/login", self._login, methods=["GET"]),
            Route("/login", self._take_token, methods=["POST"]),
            Route("/logout", self._logout, methods=["POST"]),
        ]

    async def _login(self, request: Request) -> Response:
        there = _checked(request.query_params.get("next", ""))
        link = request.query_params.get("link", "")
        if not link or request.method == "HEAD":  # which mail readers and chats send, to see what a link is
            return self._views.page(request, "login", there=there, trouble="")
        cookie = self._access.admit_by_link(link)
        if cookie is None:
            trouble = "This link was used already, or it is too old. `freehold dashboard` prints a new one."
            return self._views.page(request, "login", http_status=HTTPStatus.FORBIDDEN, there=there, trouble=trouble)
        # A redirect would go on in the name of whatever page the link was on, and the cookie would stay behind.
        return self._let_in(request, self._views.page(request, "welcome", there=there), cookie, by="a link")

    async def _take_token(self, request: Request) -> Response:
        there = _checked(field(request, "next"))
        cookie = self._access.admit_by_token(field(request, "token_id").strip(), field(request, "token_secret").strip())
        if cookie is None:
            trouble = "The engine does not know this token. `freehold login` writes it to ~/.modal.toml."
            return self._views.page(request, "login", http_status=HTTPStatus.FORBIDDEN, there=there, trouble=trouble)
        return self._let_in(request, RedirectResponse(there, HTTPStatus.SEE_OTHER), cookie, by="a token")

    async def _logout(self, request: Request) -> Response:
        session: Session | None = request.scope[SESSION]
        if session is not None:
            self._access.end(session)
            self._journal.event(STORY, "session_ended", cause=session.actor)
        response = RedirectResponse(f"{ROOT}/login", HTTPStatus.SEE_OTHER)
        response.delete_cookie(COOKIE, path=ROOT)
        return response

    def _let_in(self, request: Request, response: Response, cookie: str, *, by: str) -> Response:
        if (session := self._access.session(cookie)) is not None:
            self._journal.event(STORY, "session_begun", cause=session.actor, fields={"by": by})
        is_secure = request.url.scheme == "https" or request.headers.get("x-forwarded-proto", "").lower() == "https"
        response.set_cookie(
            COOKIE, cookie, max_age=int(SESSION_LIFE.total_seconds()), path=ROOT, httponly=True, samesite="strict", secure=is_secure
        )
        return response


def _checked(there: str) -> str:
    """Only pages of ours: a login must not lead to others. Browsers take `..` as a way up, however it is written."""
    climbs = any(unquote(part) in (".", "..") for part in there.partition("?")[0].split("/"))
    is_ours = there.startswith((f"{ROOT}/", "/id/")) and "//" not in there and "\\" not in there and there.isprintable() and not climbs
    return there if is_ours and not there.startswith(f"{ROOT}/login") else f"{ROOT}/"
