"""`modal.NetworkFileSystem`: a volume of the same name, with the methods that only the older thing had."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from modal_compat import names
from modal_compat.telling import tell

_HAVE_THEM = (".modal.com", ".modal2.com")  # whose data would seem to be gone, were it looked for in volumes


class Volumes:
    """What `network_file_systems=` takes. All that it does not say itself, its volume does."""

    def __init__(self, volume: Any) -> None:
        self.volume = volume

    def __getattr__(self, name: str) -> Any:
        return getattr(self.volume, name)

    def write_file(self, remote_path: str, fp: BinaryIO) -> int:
        """The size, in bytes."""
        start = fp.tell()
        with self.volume.batch_upload(force=True) as batch:
            batch.put_file(fp, remote_path)
        return fp.seek(0, 2) - start

    def add_local_file(self, local_path: str | Path, remote_path: str | PurePosixPath | None = None) -> None:
        with self.volume.batch_upload(force=True) as batch:
            batch.put_file(local_path, _place(local_path, remote_path))

    def add_local_dir(self, local_path: str | Path, remote_path: str | PurePosixPath | None = None) -> None:
        with self.volume.batch_upload(force=True) as batch:
            batch.put_directory(local_path, _place(local_path, remote_path))


def network_file_system(modal: Any) -> Any:
    """The class for this modal. Its own stays where modal.com is asked."""
    stock = modal.NetworkFileSystem

    class NetworkFileSystem(stock):  # type: ignore[misc,valid-type]  # what a program looks at stays what it is
        @staticmethod
        def from_name(name: str, *, namespace: Any = None, **options: Any) -> Any:
            del namespace
            if _is_theirs(modal):
                return stock.from_name(name, **options)
            tell(names.NETWORK_FILE_SYSTEM)
            return Volumes(modal.Volume.from_name(name, **options))

        @staticmethod
        def lookup(name: str, *, client: Any = None, **options: Any) -> Any:
            return NetworkFileSystem.from_name(name, **options).hydrate(client)

        @staticmethod
        @contextmanager
        def ephemeral(**options: Any) -> Iterator[Any]:
            if _is_theirs(modal):
                with stock.ephemeral(**options) as found:
                    yield found
                return
            tell(names.NETWORK_FILE_SYSTEM)
            with modal.Volume.ephemeral(**options) as volume:
                yield Volumes(volume)

    NetworkFileSystem.__doc__ = stock.__doc__
    return NetworkFileSystem


def _is_theirs(modal: Any) -> bool:
    hosts = (urlsplit(url.strip()).hostname for url in modal.config.config["server_url"].split(","))
    return any(f".{host}".endswith(_HAVE_THEM) for host in hosts)


def _place(local: str | Path, remote: str | PurePosixPath | None) -> str:
    return str(PurePosixPath("/", Path(local).name if remote is None else remote))
