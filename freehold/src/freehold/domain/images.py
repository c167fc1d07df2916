"""Images: an ordered list of layers (lowest first) and the settings that a container of it starts with."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from freehold.domain.ids import ImageId, LayerId


class ImageState(StrEnum):
    WANTED = "wanted"  # recorded, waiting for a worker
    BUILDING = "building"
    BUILT = "built"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """What Dockerfile commands set beside files."""

    env: Mapping[str, str] = field(default_factory=dict)
    workdir: str = "/"
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    user: str = ""
    shell: tuple[str, ...] = ("/bin/sh", "-c")
    python_series: str = ""  # "3.11"; empty when the image has no Python
    python_version: str = ""  # "3.11.9"


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    id: ImageId
    key: str  # digest of the request that defines it: the same request finds the same image
    state: ImageState
    request: bytes  # serialized modal `Image` message
    created_at: datetime
    builder_version: str = ""
    layers: tuple[LayerId, ...] = ()
    config: ImageConfig = field(default_factory=ImageConfig)
    error: str = ""
    app_id: str = ""
    build_function_id: str = ""

    @property
    def is_finished(self) -> bool:
        """Built or failed: nothing more will happen to it."""
        return self.state in {ImageState.BUILT, ImageState.FAILED}
