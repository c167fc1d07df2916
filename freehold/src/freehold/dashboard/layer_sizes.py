"""How much of the disk each layer of an image takes. A layer never changes, so it is measured once."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import anyio.to_thread

from freehold.domain.ids import LayerId


class LayerSizes:
    """`path_of` says where a layer is."""

    def __init__(self, path_of: Callable[[LayerId], Path]) -> None:
        self._path_of = path_of
        self._known: dict[LayerId, int] = {}

    async def of(self, layers: Sequence[LayerId]) -> Mapping[LayerId, int]:
        """Bytes; without those that are not here (any more)."""
        missing = [layer for layer in layers if layer not in self._known]
        if missing:
            self._known |= await anyio.to_thread.run_sync(self._measure, missing)
        return {layer: self._known[layer] for layer in layers if layer in self._known}

    def _measure(self, layers: Sequence[LayerId]) -> dict[LayerId, int]:
        return {layer: _size(folder) for layer in layers if (folder := self._path_of(layer)).is_dir()}


def _size(folder: Path) -> int:
    """Of its files as they are, links not followed."""
    found, folders = 0, [str(folder)]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                else:
                    found += entry.stat(follow_symlinks=False).st_size
    return found
