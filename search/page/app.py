"""`create_app`: the page and its API as one ASGI application."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles

from db.errors import CollectionMissing, DbError, UnknownId
from decoding.errors import PhotoError
from fcln.errors import FclnError
from fcln.phrase_model import PhraseModel
from search.errors import SearchError
from search.page.api import Api, make_router
from search.page.documents import API_VERSION, JsonResponse
from search.page.errors import RequestError
from search.page.guard import Guard
from search.page.outside import Outside
from search.page.readers import Readers
from search.page.thumbnails import CACHE_BYTES, Thumbnails, default_cache

if TYPE_CHECKING:
    from db.location import Location

logger = logging.getLogger(__name__)

STATIC = Path(__file__).parent / "static"

# Addresses that the page understands itself: each is answered with the page.
_VIEWS = ("/", "/search", "/like", "/photo/{photo_id}", "/collection", "/collection/{part}", "/api-docs")


@dataclass(frozen=True)
class Settings:
    """What is served, and to whom."""

    location: "Location"
    weights: Path | None = None  # None: the embedded ones
    device: str = "auto"  # where the network runs, for photographs from outside
    host: str = "127.0.0.1"
    token: str | None = None  # what every request has to bring; None: nothing
    cache_folder: Path = field(default_factory=default_cache)
    cache_bytes: int = CACHE_BYTES


def create_app(settings: Settings) -> FastAPI:
    """The application. Nothing is opened before it is asked for."""
    readers = Readers(settings.location, lambda: PhraseModel.load(settings.weights))
    thumbnails = Thumbnails(settings.cache_folder, cache_bytes=settings.cache_bytes)
    api = Api(readers, thumbnails, Outside(settings.weights, device=settings.device))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        api.close()

    app = FastAPI(
        title="densecap-search",
        version=f"{version('densecap-search')}, API {API_VERSION}",
        description='Find things inside photographs with words. Errors are `{"error": SENTENCE}`.',
        lifespan=lifespan,
        docs_url=None,  # FastAPI's own come from elsewhere
        redoc_url=None,
        openapi_url="/api/openapi.json",
    )
    app.state.api = api
    app.include_router(make_router(api), prefix=f"/api/v{API_VERSION}")
    app.include_router(make_router(api), prefix="/api", include_in_schema=False)
    for path in _VIEWS:
        app.add_api_route(path, _page, include_in_schema=False, response_model=None)
    app.mount("/static", _Files(directory=STATIC))
    app.add_api_route("/favicon.ico", _icon, include_in_schema=False, response_model=None)
    app.add_middleware(Guard, host=settings.host, token=settings.token)
    for kind in (SearchError, DbError, FclnError, PhotoError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, _as_sentence)
    return app


async def _page() -> Response:
    return FileResponse(STATIC / "index.html", media_type="text/html", headers={"cache-control": "no-cache"})


async def _icon() -> Response:
    return FileResponse(STATIC / "icon.svg", media_type="image/svg+xml")


class _Files(StaticFiles):
    """The page's own files, which browsers ask for again: a new version of the program has new ones."""

    def file_response(self, *arguments: Any, **options: Any) -> Response:
        response = super().file_response(*arguments, **options)
        response.headers["cache-control"] = "no-cache"
        return response


async def _as_sentence(request: Request, error: Exception) -> Response:
    """An error as {"error": SENTENCE}."""
    if isinstance(error, RequestValidationError):
        faults = (f"{'.'.join(map(str, fault['loc'][1:]))}: {fault['msg']}" for fault in error.errors())
        return _sentence(400, f"The request cannot be understood: {'; '.join(faults)}.")
    if isinstance(error, HTTPException):
        told = {404: "There is nothing at this address.", 405: "This address takes other requests."}
        return _sentence(error.status_code, told.get(error.status_code, str(error.detail)))
    if isinstance(error, RequestError):
        return _sentence(error.status, str(error))
    if isinstance(error, UnknownId | CollectionMissing):
        return _sentence(404, str(error))
    if isinstance(error, SearchError):
        return _sentence(400, str(error))
    if isinstance(error, DbError | FclnError | PhotoError):
        return _sentence(503, str(error))
    logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return _sentence(500, "Something went wrong; where the server was started it says what.")


def _sentence(status: int, sentence: str) -> Response:
    return JsonResponse({"error": sentence}, status_code=status)
