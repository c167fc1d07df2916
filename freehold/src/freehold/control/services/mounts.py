"""Mounts: trees of files that clients upload by digest and that appear over an image."""

from collections.abc import Sequence
from dataclasses import dataclass

from freehold.control.services.blobs import Blobs
from freehold.control.services.environments import Environments
from freehold.domain.clock import Clock
from freehold.domain.creation import Creation
from freehold.domain.errors import AlreadyExists, InvalidRequest, NotFound
from freehold.domain.files import FileTree, Mount, TreeFile, checked_container_path, checked_digest, file_tree
from freehold.domain.ids import BlobId, MountId, new_mount_id
from freehold.domain.names import checked_name
from freehold.store.ports import Content, Store, Transaction

# Modal's own packages and Pythons: our workers bring theirs, so these stand for nothing.
_SUPPLIED = ("modal-client-mount-", "python-build-standalone.")


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedMount:
    """A mount as a client asks for it: anonymous files, or a published name."""

    environment: str
    name: str
    is_global: bool
    creation: Creation
    files: Sequence[TreeFile] = ()
    app_id: str = ""


class Mounts:
    def __init__(self, *, store: Store, content: Content, blobs: Blobs, environments: Environments, clock: Clock) -> None:
        self._store = store
        self._content = content
        self._blobs = blobs
        self._environments = environments
        self._clock = clock

    async def has_file(self, digest: str) -> bool:
        return not await self.missing([digest])

    async def put_file(self, digest: str, data: bytes) -> None:
        """Raises InvalidRequest if the data has another digest."""
        await self._content.put_bytes(data, checked_digest(digest))
        self._blobs.record(digest, len(data))

    async def put_blob(self, digest: str, blob_id: BlobId) -> None:
        """The file was uploaded as a blob before; raises InvalidRequest if that has another digest."""
        if not await self._blobs.holds(blob_id, checked_digest(digest)):
            msg = f"The blob {blob_id[:80]!r} does not have the digest {digest}. Did the file change meanwhile? Try again."
            raise InvalidRequest(msg)
        self._blobs.touch([digest])

    async def missing(self, digests: Sequence[str]) -> Sequence[str]:
        """Those that have to be uploaded. The others will be needed: they count as used now."""
        missing = await self._content.missing([checked_digest(digest) for digest in digests])
        self._blobs.touch(set(digests) - set(missing))
        return missing

    async def get_or_create(self, wanted: WantedMount) -> Mount:
        if wanted.name:
            return await self._get_or_publish(wanted)
        if not wanted.creation.is_anonymous:
            msg = "A mount without a name must be owned by an app or be ephemeral."
            raise InvalidRequest(msg)
        tree = await self._tree(wanted.files)
        async with self._store.transaction() as tx:
            return await tx.mounts.find_by_tree(tree.id) or await self._put(tx, tree, app_id=wanted.app_id)

    async def tree_of(self, mount_id: MountId) -> FileTree:
        async with self._store.transaction() as tx:
            return (await tx.mounts.get(mount_id)).tree

    async def _get_or_publish(self, wanted: WantedMount) -> Mount:
        place = "" if wanted.is_global else (await self._environments.get(wanted.environment)).name
        key = f"{place}/{checked_name(wanted.name, 'mount')}"
        tree = await self._tree(wanted.files)
        async with self._store.transaction() as tx:
            found = await tx.mounts.find_by_name(key)
            if wanted.creation is Creation.LOOK_UP:
                return found or await self._supplied(tx, wanted, key)
            if found is not None and wanted.creation is Creation.MUST_BE_NEW:
                msg = f"There is a mount named {wanted.name!r} already."
                raise AlreadyExists(msg)
            # Clients send IF_MISSING to replace: the newest of a name is the one that is found.
            return await self._put(tx, tree, name=key)

    async def _supplied(self, tx: Transaction, wanted: WantedMount, key: str) -> Mount:
        if not (wanted.is_global and wanted.name.startswith(_SUPPLIED)):
            msg = f"No mount named {wanted.name!r}. Add files to the image instead: Image.add_local_dir, add_local_file."
            raise NotFound(msg)
        # The worker has the files and knows them by this name: the client's package, or a Python of that series for add_python=.
        return await self._put(tx, FileTree(id=wanted.name, files=()), name=key)

    async def _put(self, tx: Transaction, tree: FileTree, *, name: str = "", app_id: str = "") -> Mount:
        mount = Mount(id=new_mount_id(), tree=tree, created_at=self._clock.now(), name=name, app_id=app_id)
        await tx.mounts.put(mount)
        return mount

    async def _tree(self, files: Sequence[TreeFile]) -> FileTree:
        """The files as a tree, if each has a path inside the container and its content is here."""
        tree = file_tree(TreeFile(path=checked_container_path(file.path), digest=file.digest, mode=file.mode & 0o777) for file in files)
        missing = set(await self.missing(sorted({file.digest for file in tree.files})))
        paths = [file.path for file in tree.files if file.digest in missing]
        if paths:
            msg = f"{len(paths)} files of the mount were not uploaded, among them {', '.join(paths[:3])}. Try again."
            raise NotFound(msg)
        return tree
