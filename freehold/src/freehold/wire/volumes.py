"""Volumes as Modal's messages."""

from collections.abc import Sequence

from modal_proto import api_pb2

from freehold.domain.ids import VolumeId
from freehold.domain.volumes import Entry, Volume, VolumeMount, path_parts


def mounts_of(message: api_pb2.Function) -> tuple[VolumeMount, ...]:
    """What a function's containers have mounted."""
    return tuple(
        VolumeMount(
            volume_id=VolumeId(mount.volume_id), path=mount.mount_path, sub_path=path_parts(mount.sub_path), read_only=mount.read_only
        )
        for mount in message.volume_mounts
    )


def metadata(volume: Volume) -> api_pb2.VolumeMetadata:
    """What clients and containers learn of a volume."""
    return api_pb2.VolumeMetadata(
        version=volume.version,  # type: ignore[arg-type]
        name=volume.name,
        creation_info=api_pb2.CreationInfo(created_at=volume.created_at.timestamp()),
    )


def entries(found: Sequence[Entry]) -> list[api_pb2.FileEntry]:
    """A name that is no UTF-8 cannot travel as it is: what is wrong in it is replaced."""
    return [
        api_pb2.FileEntry(
            path=entry.path.encode(errors="surrogateescape").decode(errors="replace"),
            type=int(entry.kind),  # type: ignore[arg-type]
            mtime=entry.mtime,
            size=entry.size,
        )
        for entry in found
    ]
