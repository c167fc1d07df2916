"""Mounts: files by digest, then the tree that they form."""

from modal_proto import api_pb2

from freehold.control.caller import Caller
from freehold.control.services.mounts import Mounts, WantedMount
from freehold.domain.creation import Creation
from freehold.domain.files import TreeFile, checked_digest
from freehold.domain.ids import BlobId

_DEFAULT_MODE = 0o644


class MountRpcs:
    def __init__(self, mounts: Mounts) -> None:
        self._mounts = mounts

    async def MountPutFile(self, request: api_pb2.MountPutFileRequest, _caller: Caller) -> api_pb2.MountPutFileResponse:
        """Without data it asks whether the file is here: older clients do."""
        match request.WhichOneof("data_oneof"):
            case "data":
                await self._mounts.put_file(request.sha256_hex, request.data)
            case "data_blob_id":
                await self._mounts.put_blob(request.sha256_hex, BlobId(request.data_blob_id))
        return api_pb2.MountPutFileResponse(exists=await self._mounts.has_file(request.sha256_hex))

    async def MountBatchedCheckExistence(
        self, request: api_pb2.MountBatchedCheckExistenceRequest, _caller: Caller
    ) -> api_pb2.MountBatchedCheckExistenceResponse:
        missing = await self._mounts.missing(request.sha256_hex_hashes)
        return api_pb2.MountBatchedCheckExistenceResponse(missing_sha256_hex_hashes=missing)

    async def MountGetOrCreate(self, request: api_pb2.MountGetOrCreateRequest, _caller: Caller) -> api_pb2.MountGetOrCreateResponse:
        wanted = WantedMount(
            environment=request.environment_name,
            name=request.deployment_name,
            is_global=request.namespace == api_pb2.DEPLOYMENT_NAMESPACE_GLOBAL,
            creation=Creation(request.object_creation_type),
            files=[_file(file) for file in request.files],
            app_id=request.app_id,
        )
        mount = await self._mounts.get_or_create(wanted)
        metadata = api_pb2.MountHandleMetadata(content_checksum_sha256_hex=mount.tree.id)
        return api_pb2.MountGetOrCreateResponse(mount_id=mount.id, handle_metadata=metadata)


def _file(file: api_pb2.MountFile) -> TreeFile:
    mode = file.mode if file.HasField("mode") else _DEFAULT_MODE
    return TreeFile(path=file.filename, digest=checked_digest(file.sha256_hex), mode=mode)
