"""Volumes: by name, and what is in them. Of the two versions of a message, the second is what clients send to volumes of version 2."""

from collections.abc import AsyncIterator

from google.protobuf.empty_pb2 import Empty
from modal_proto import api_pb2

from freehold.control.caller import Caller
from freehold.control.services.volume_files import VolumeFiles
from freehold.control.services.volumes import Volumes, WantedVolume
from freehold.domain.creation import Creation
from freehold.domain.files import checked_digest
from freehold.domain.ids import VolumeId
from freehold.domain.volumes import NewFile, Volume, new_file
from freehold.wire import volumes as wire

_DEFAULT_MODE = 0o644


class VolumeRpcs:
    def __init__(self, *, volumes: Volumes, files: VolumeFiles) -> None:
        self._volumes = volumes
        self._files = files

    async def VolumeGetOrCreate(self, request: api_pb2.VolumeGetOrCreateRequest, _caller: Caller) -> api_pb2.VolumeGetOrCreateResponse:
        wanted = WantedVolume(
            environment=request.environment_name,
            name=request.deployment_name,
            creation=Creation(request.object_creation_type),
            version=request.version,
        )
        volume = await self._volumes.get_or_create(wanted)
        metadata = wire.metadata(volume)
        return api_pb2.VolumeGetOrCreateResponse(volume_id=volume.id, version=metadata.version, metadata=metadata)

    async def VolumeGetById(self, request: api_pb2.VolumeGetByIdRequest, _caller: Caller) -> api_pb2.VolumeGetByIdResponse:
        volume = await self._volumes.get(VolumeId(request.volume_id))
        return api_pb2.VolumeGetByIdResponse(volume_id=volume.id, metadata=wire.metadata(volume))

    async def VolumeList(self, request: api_pb2.VolumeListRequest, _caller: Caller) -> api_pb2.VolumeListResponse:
        page = request.pagination
        volumes = await self._volumes.list(request.environment_name, limit=page.max_objects, created_before=page.created_before)
        return api_pb2.VolumeListResponse(items=[_item(volume) for volume in volumes], environment_name=request.environment_name)

    async def VolumeRename(self, request: api_pb2.VolumeRenameRequest, _caller: Caller) -> Empty:
        await self._volumes.rename(VolumeId(request.volume_id), request.name)
        return Empty()

    async def VolumeDelete(self, request: api_pb2.VolumeDeleteRequest, _caller: Caller) -> Empty:
        await self._volumes.delete(VolumeId(request.volume_id))
        return Empty()

    async def VolumeHeartbeat(self, request: api_pb2.VolumeHeartbeatRequest, _caller: Caller) -> Empty:
        await self._volumes.heartbeat(VolumeId(request.volume_id))
        return Empty()

    async def VolumeCommit(self, request: api_pb2.VolumeCommitRequest, caller: Caller) -> api_pb2.VolumeCommitResponse:
        await self._files.commit(VolumeId(request.volume_id), caller)
        return api_pb2.VolumeCommitResponse(skip_reload=True)

    async def VolumeReload(self, request: api_pb2.VolumeReloadRequest, caller: Caller) -> Empty:
        await self._files.reload(VolumeId(request.volume_id), caller)
        return Empty()

    async def VolumeListFiles(
        self, request: api_pb2.VolumeListFilesRequest, _caller: Caller
    ) -> AsyncIterator[api_pb2.VolumeListFilesResponse]:
        volume_id, limit = VolumeId(request.volume_id), request.max_entries
        async for found in self._files.entries(volume_id, request.path, recursive=request.recursive, limit=limit):
            yield api_pb2.VolumeListFilesResponse(entries=wire.entries(found))

    async def VolumeListFiles2(
        self, request: api_pb2.VolumeListFiles2Request, _caller: Caller
    ) -> AsyncIterator[api_pb2.VolumeListFiles2Response]:
        volume_id, limit = VolumeId(request.volume_id), request.max_entries
        async for found in self._files.entries(volume_id, request.path, recursive=request.recursive, limit=limit):
            yield api_pb2.VolumeListFiles2Response(entries=wire.entries(found))

    async def VolumePutFiles(self, request: api_pb2.VolumePutFilesRequest, _caller: Caller) -> Empty:
        files = [_whole(file) for file in request.files]
        await self._files.put(VolumeId(request.volume_id), files, overwrite=not request.disallow_overwrite_existing_files)
        return Empty()

    async def VolumePutFiles2(self, request: api_pb2.VolumePutFiles2Request, _caller: Caller) -> api_pb2.VolumePutFiles2Response:
        files = [_in_blocks(file) for file in request.files]
        overwrite = not request.disallow_overwrite_existing_files
        missing = await self._files.put_in_blocks(VolumeId(request.volume_id), files, overwrite=overwrite)
        response = api_pb2.VolumePutFiles2Response()
        for (file_index, block_index), url in missing.items():
            response.missing_blocks.add(file_index=file_index, block_index=block_index, put_url=url)
        return response

    async def VolumeGetFile2(self, request: api_pb2.VolumeGetFile2Request, _caller: Caller) -> api_pb2.VolumeGetFile2Response:
        found = await self._files.read(VolumeId(request.volume_id), request.path, start=request.start, length=request.len)
        return api_pb2.VolumeGetFile2Response(get_urls=found.urls, size=found.size, start=found.start, len=found.length)

    async def VolumeCopyFiles(self, request: api_pb2.VolumeCopyFilesRequest, _caller: Caller) -> Empty:
        await self._files.copy(VolumeId(request.volume_id), request.src_paths, request.dst_path, recursive=request.recursive)
        return Empty()

    async def VolumeCopyFiles2(self, request: api_pb2.VolumeCopyFiles2Request, _caller: Caller) -> Empty:
        await self._files.copy(VolumeId(request.volume_id), request.src_paths, request.dst_path, recursive=request.recursive)
        return Empty()

    async def VolumeRemoveFile(self, request: api_pb2.VolumeRemoveFileRequest, _caller: Caller) -> Empty:
        await self._files.remove(VolumeId(request.volume_id), request.path, recursive=request.recursive)
        return Empty()

    async def VolumeRemoveFile2(self, request: api_pb2.VolumeRemoveFile2Request, _caller: Caller) -> Empty:
        await self._files.remove(VolumeId(request.volume_id), request.path, recursive=request.recursive)
        return Empty()


def _whole(file: api_pb2.MountFile) -> NewFile:
    mode = file.mode if file.HasField("mode") else _DEFAULT_MODE
    return new_file(file.filename, blocks=[checked_digest(file.sha256_hex)], mode=mode)


def _in_blocks(file: api_pb2.VolumePutFiles2Request.File) -> NewFile:
    mode = file.mode if file.HasField("mode") else _DEFAULT_MODE
    return new_file(file.path, blocks=[checked_digest(block.contents_sha256.hex()) for block in file.blocks], mode=mode, size=file.size)


def _item(volume: Volume) -> api_pb2.VolumeListItem:
    metadata = wire.metadata(volume)
    return api_pb2.VolumeListItem(label=volume.name, volume_id=volume.id, created_at=metadata.creation_info.created_at, metadata=metadata)
