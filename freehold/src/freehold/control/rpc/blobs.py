"""Blobs: links for sending and fetching them."""

from modal_proto import api_pb2

from freehold.control.caller import Caller
from freehold.control.services.blobs import Blobs
from freehold.domain.ids import BlobId


class BlobRpcs:
    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    async def BlobCreate(self, request: api_pb2.BlobCreateRequest, _caller: Caller) -> api_pb2.BlobCreateResponse:
        """One link in both forms: lists for today's clients, single values for older ones. Never in parts: we take any size at once."""
        upload = self._blobs.create(size=request.content_length, sha256=request.content_sha256_base64, md5=request.content_md5)
        return api_pb2.BlobCreateResponse(
            blob_id=upload.blob_id,
            upload_url=upload.url,
            blob_ids=[upload.blob_id],
            upload_urls=api_pb2.UploadUrlList(items=[upload.url]),
        )

    async def BlobGet(self, request: api_pb2.BlobGetRequest, _caller: Caller) -> api_pb2.BlobGetResponse:
        return api_pb2.BlobGetResponse(download_url=await self._blobs.download_url(BlobId(request.blob_id)))

    async def FunctionBlobGet(self, request: api_pb2.BlobGetRequest, caller: Caller) -> api_pb2.BlobGetResponse:
        return await self.BlobGet(request, caller)
