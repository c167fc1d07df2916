"""Files of volumes over HTTP: the links to their blocks that clients get."""

import os
from collections.abc import AsyncIterator
from typing import BinaryIO, Protocol

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

VOLUME_PATH = "/_freehold/volumes/{token}/{index:int}"
_PIECE = 256 * 1024  # bytes read at a time: each is a trip to a thread, and clients fetch 128 blocks at once


class VolumeFiles(Protocol):
    async def open_block(self, token: str, index: int) -> tuple[BinaryIO, int, int]:
        """A file, where in it the block of that number begins, and how many bytes that has. The caller closes the file.

        Raises Unauthenticated for a token that is forged or has expired, NotFound or Conflict when the file is not what it was.
        """
        ...


class VolumeRoutes:
    def __init__(self, files: VolumeFiles) -> None:
        self._files = files
        self.routes = [Route(VOLUME_PATH, self._get, methods=["GET"])]

    async def _get(self, request: Request) -> Response:
        file, start, length = await self._files.open_block(request.path_params["token"], request.path_params["index"])
        headers = {"Content-Length": str(length)}
        return StreamingResponse(_pieces(file, start, length), headers=headers, media_type="application/octet-stream")


async def _pieces(file: BinaryIO, start: int, length: int) -> AsyncIterator[bytes]:
    """Ends early when the file has become shorter: the connection is cut then, and the client knows that something is missing."""
    with file:
        end = start + length
        while start < end:
            piece = await to_thread.run_sync(os.pread, file.fileno(), min(_PIECE, end - start), start)
            if not piece:
                return
            yield piece
            start += len(piece)
