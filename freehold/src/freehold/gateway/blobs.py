"""Blobs over HTTP: the upload and download links that clients and containers get for payloads too large for a message."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

BLOB_PATH = "/_freehold/blobs/{token}"


class Blobs(Protocol):
    """What blob links do. A token says which blob, for which direction, and until when.

    Both raise Unauthenticated for a token that is forged or has expired, and NotFound for a blob that is gone.
    """

    async def receive(self, token: str, chunks: AsyncIterator[bytes], content_md5: str | None) -> str:
        """Store the bytes and return their MD5 in hex, which the client compares with its own.

        `content_md5` is the header as it came (base64). On a difference raise InvalidRequest with the words
        "The Content-MD5 you specified did not match what we received.", which the client looks for. A caller who leaves
        midway ends `chunks` with an exception: keep nothing.
        """
        ...

    async def open_for_read(self, token: str) -> Path: ...


class BlobRoutes:
    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self.routes = [
            Route(BLOB_PATH, self._put, methods=["PUT"]),
            Route(BLOB_PATH, self._get, methods=["GET"]),  # and HEAD
        ]

    async def _put(self, request: Request) -> Response:
        digest = await self._blobs.receive(request.path_params["token"], request.stream(), request.headers.get("content-md5"))
        return Response(headers={"ETag": f'"{digest}"'})

    async def _get(self, request: Request) -> Response:
        return _BlobResponse(await self._blobs.open_for_read(request.path_params["token"]), media_type="application/octet-stream")


class _BlobResponse(FileResponse):
    chunk_size = 1024 * 1024  # each chunk is a trip to a thread
