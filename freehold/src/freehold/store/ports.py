"""What the engine keeps, as small Protocols: one per aggregate, given together by a transaction.

    async with store.transaction() as tx:
        app = await tx.apps.get(app_id)
        await tx.apps.put(move(app, AppState.STOPPED, now))

A transaction commits once, at the end of its block; an exception rolls everything back. `put` inserts or replaces by id. `get`
raises NotFound with a sentence for the person; `find` answers None. Nothing here waits for network or containers.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from pathlib import Path
from typing import BinaryIO, Protocol

from freehold.domain.apps import App, Deployment
from freehold.domain.blobs import StoredContent
from freehold.domain.calls import Attempt, FunctionCall, StoredInput, StoredResult, Tally
from freehold.domain.environments import Environment
from freehold.domain.files import Mount
from freehold.domain.functions import Definition, Function, UserClass
from freehold.domain.ids import (
    AppId,
    CallId,
    ClassId,
    DefinitionId,
    FunctionId,
    ImageId,
    InputId,
    MountId,
    ProxyTokenId,
    SecretId,
    TaskId,
    TokenId,
    VolumeId,
)
from freehold.domain.images import Image
from freehold.domain.overrides import AutoscalerOverride
from freehold.domain.proxy_tokens import ProxyToken
from freehold.domain.rollups import Bucket
from freehold.domain.schedules import Schedule
from freehold.domain.secrets import Secret
from freehold.domain.tasks import Task
from freehold.domain.tokens import Token
from freehold.domain.usage import FunctionUsage, Total, Usage
from freehold.domain.volumes import Entry, FoundFile, NewFile, Parts, Volume
from freehold.observability.events import Event

Place = tuple[datetime, str]  # in a list that goes by time and id


class Environments(Protocol):
    async def put(self, environment: Environment) -> None: ...
    async def find(self, name: str) -> Environment | None: ...
    async def get(self, name: str) -> Environment: ...
    async def list(self) -> Sequence[Environment]: ...
    async def delete(self, name: str) -> None: ...


class Apps(Protocol):
    async def put(self, app: App) -> None: ...
    async def get(self, app_id: AppId) -> App: ...
    async def find_deployed(self, environment: str, name: str) -> App | None:
        """The app that is deployed under this name, not a stopped one."""
        ...

    async def list(self, environment: str) -> Sequence[App]:
        """Newest first."""
        ...

    async def list_live(self) -> Sequence[App]:
        """Apps of all environments that are not stopped."""
        ...

    async def stopped(self, before: Place | None, limit: int) -> Sequence[App]:
        """A page of those of all environments that are, newest first: from `before` on, which is the last one's time of creation and id."""
        ...

    async def put_deployment(self, deployment: Deployment) -> None: ...
    async def deployments(self, app_id: AppId) -> Sequence[Deployment]:
        """Newest version first."""
        ...

    async def find_deployment(self, app_id: AppId, version: int) -> Deployment | None: ...
    async def find_stopped(self, environment: str, name: str) -> App | None:
        """The app that stopped last under this name."""
        ...


class Functions(Protocol):
    async def put(self, function: Function) -> None: ...
    async def get(self, function_id: FunctionId) -> Function: ...
    async def find_bound(self, base_id: FunctionId, serialized_params: bytes, options: bytes) -> Function | None: ...
    async def of_app(self, app_id: AppId) -> Sequence[Function]:
        """Bound ones too."""
        ...

    async def bound_to(self, base_id: FunctionId) -> Sequence[Function]:
        """In order of id."""
        ...

    async def put_definition(self, definition: Definition) -> None: ...
    async def get_definition(self, definition_id: DefinitionId) -> Definition: ...
    async def put_class(self, user_class: UserClass) -> None: ...
    async def get_class(self, class_id: ClassId) -> UserClass: ...


class Overrides(Protocol):
    """Autoscaler settings that were changed while their function runs."""

    async def put(self, function_id: FunctionId, override: AutoscalerOverride) -> None: ...
    async def find(self, function_id: FunctionId) -> AutoscalerOverride | None: ...
    async def function_ids(self) -> Sequence[FunctionId]:
        """Of all functions with changed settings."""
        ...

    async def delete(self, function_ids: Sequence[FunctionId]) -> None:
        """Those that there are."""
        ...


class Calls(Protocol):
    """Asynchronous calls only: synchronous ones live in memory."""

    async def write(
        self, *, calls: Sequence[FunctionCall] = (), inputs: Sequence[StoredInput] = (), results: Sequence[StoredResult] = ()
    ) -> Collection[InputId]:
        """Calls and inputs by id, and each input's result once. Returns whose results were written: of the others there was one already,
        and it stays.
        """
        ...

    async def find(self, call_id: CallId) -> FunctionCall | None: ...
    async def of_ids(self, call_ids: Collection[CallId]) -> Sequence[FunctionCall]:
        """Those that there are, in no order."""
        ...

    async def find_by_request(self, request_key: str) -> FunctionCall | None:
        """The call that the request with this key made."""
        ...

    async def children(self, parent_input_ids: Sequence[str]) -> Sequence[FunctionCall]:
        """Calls that were made while these inputs ran, oldest first."""
        ...

    async def recent(self, function_ids: Sequence[FunctionId], since: datetime, until: datetime, limit: int) -> Sequence[FunctionCall]:
        """Calls of these functions made in [since, until), newest first."""
        ...

    async def inputs(self, call_id: CallId) -> Sequence[StoredInput]:
        """In order of idx."""
        ...

    async def tallies(self, call_ids: Sequence[CallId]) -> Mapping[CallId, Tally]:
        """What the inputs of each of these calls came to; calls without inputs are left out."""
        ...

    async def outline(self, call_ids: Sequence[CallId], most: int) -> Sequence[StoredInput]:
        """The inputs of these calls whose idx is below `most`, in order of call and idx, without payloads and results."""
        ...

    async def worth_a_look(self, call_id: CallId, start: int, limit: int) -> Sequence[StoredInput]:
        """Of the inputs whose idx is not below `start`, so many that failed and so many that have no result, as `outline` has them."""
        ...

    async def contents(self, input_ids: Sequence[InputId]) -> Sequence[StoredInput]:
        """These inputs with payloads and results, in no order."""
        ...

    async def latest(self, before: Place | None, limit: int, *, function_id: FunctionId | None = None) -> Sequence[FunctionCall]:
        """Of a function, or of all, newest first: from `before` on, which is the last one's time of creation and id."""
        ...

    async def failures(self, app_id: AppId | None, limit: int) -> Sequence[StoredInput]:
        """Inputs that ended without success, the last first, without payloads and results. Of an app: among the last thousand of all."""
        ...

    async def call_of(self, input_id: InputId) -> CallId | None: ...
    async def set_attempt(self, input_id: InputId, attempt: int) -> None: ...
    async def put_attempts(self, attempts: Sequence[Attempt]) -> None:
        """By input and number."""
        ...

    async def attempts_of(self, input_ids: Sequence[InputId]) -> Sequence[Attempt]:
        """In the order in which they started."""
        ...

    async def last_attempts(self) -> Sequence[Attempt]:
        """The newest attempt of each input that has no result."""
        ...

    async def unfinished(self) -> Sequence[tuple[FunctionCall, Sequence[StoredInput]]]:
        """Calls with inputs that have no result, with those inputs, oldest first."""
        ...

    async def delete_finished_before(self, moment: datetime) -> int:
        """Forget calls made before this whose every input finished before it too; how many."""
        ...

    async def page(self, after: str, limit: int) -> Sequence[StoredInput]:
        """The next inputs of all calls, in order of id; `after` is the last id of the page before, empty for the first."""
        ...


class Images(Protocol):
    async def put(self, image: Image) -> None: ...
    async def get(self, image_id: ImageId) -> Image: ...
    async def find_by_key(self, key: str) -> Image | None:
        """The newest image with this key."""
        ...

    async def unfinished(self) -> Sequence[Image]:
        """Wanted or building."""
        ...

    async def page(self, before: Place | None, limit: int) -> Sequence[Image]:
        """Newest first: from `before` on, which is the last one's time of creation and id."""
        ...


class Mounts(Protocol):
    async def put(self, mount: Mount) -> None: ...
    async def get(self, mount_id: MountId) -> Mount: ...
    async def find_by_tree(self, tree_id: str) -> Mount | None: ...
    async def find_by_name(self, name: str) -> Mount | None: ...
    async def digests(self) -> AbstractSet[str]:
        """Of all files of all mounts."""
        ...


class Secrets(Protocol):
    async def put(self, secret: Secret) -> None: ...
    async def get(self, secret_id: SecretId) -> Secret: ...
    async def find(self, environment: str, name: str) -> Secret | None: ...
    async def list(self, environment: str) -> Sequence[Secret]:
        """Named ones, newest first."""
        ...

    async def delete(self, secret_id: SecretId) -> None: ...


class Volumes(Protocol):
    async def put(self, volume: Volume) -> None: ...
    async def get(self, volume_id: VolumeId) -> Volume: ...
    async def find(self, environment: str, name: str) -> Volume | None: ...
    async def list(self, environment: str) -> Sequence[Volume]:
        """Named ones, newest first."""
        ...

    async def ephemeral(self) -> Sequence[Volume]:
        """Those without a name, of all environments."""
        ...

    async def delete(self, volume_id: VolumeId) -> None: ...


class Tokens(Protocol):
    """Those of clients, without the home's own."""

    async def put(self, token: Token) -> None: ...
    async def get(self, token_id: TokenId) -> Token: ...
    async def list(self) -> Sequence[Token]:
        """Newest first."""
        ...

    async def delete(self, token_id: TokenId) -> None: ...


class ProxyTokens(Protocol):
    async def put(self, token: ProxyToken) -> None: ...
    async def get(self, token_id: ProxyTokenId) -> ProxyToken: ...
    async def list(self) -> Sequence[ProxyToken]:
        """Newest first."""
        ...

    async def delete(self, token_id: ProxyTokenId) -> None: ...


class Schedules(Protocol):
    """One for each deployed function that has a rule, by the function's id."""

    async def put(self, schedule: Schedule) -> None: ...
    async def find(self, function_id: FunctionId) -> Schedule | None: ...
    async def list(self) -> Sequence[Schedule]: ...
    async def of_app(self, app_id: AppId) -> Sequence[Schedule]: ...
    async def due(self, now: datetime) -> Sequence[Schedule]:
        """Those whose time has come, earliest first."""
        ...

    async def next_at(self) -> datetime | None:
        """The earliest time of all."""
        ...

    async def advance(self, schedule: Schedule, due_at: datetime) -> bool:
        """Replace the schedule if it is still the one that was due at this time. False: someone else has taken that turn."""
        ...

    async def delete(self, function_id: FunctionId) -> None: ...


class Tasks(Protocol):
    async def put(self, task: Task) -> None: ...
    async def get(self, task_id: TaskId) -> Task: ...
    async def alive(self) -> Sequence[Task]:
        """Tasks that have not ended."""
        ...

    async def of_app(self, app_id: AppId, limit: int = 1000) -> Sequence[Task]:
        """Newest first."""
        ...

    async def page(
        self, before: Place | None, limit: int, *, app_id: AppId | None = None, function_ids: Collection[FunctionId] = ()
    ) -> Sequence[Task]:
        """Of all, of an app, or of some functions of an app, newest first: from `before` on, the last one's time of the wish and id."""
        ...

    async def delete_ended_before(self, moment: datetime) -> int: ...


class Blobs(Protocol):
    """Sizes and last uses of blobs; their content is in the blob folder."""

    async def put(self, blob_id: str, size: int, used_at: datetime) -> None: ...
    async def touch(self, blob_ids: Sequence[str], used_at: datetime) -> None: ...
    async def total_bytes(self) -> int: ...
    async def least_recently_used(self, limit: int) -> Sequence[tuple[str, int, datetime]]: ...
    async def delete(self, blob_ids: Sequence[str]) -> None:
        """Their aliases too."""
        ...

    async def put_alias(self, alias: str, blob_id: str) -> None:
        """Another id for a blob, given before its content was known."""
        ...

    async def find_alias(self, alias: str) -> str | None: ...


class Events(Protocol):
    async def add(self, events: Sequence[Event]) -> None: ...
    async def of(self, subject: str, limit: int = 1000) -> Sequence[Event]:
        """Events of one id, oldest first."""
        ...

    async def latest(self, subject: str, limit: int) -> Sequence[Event]:
        """The last so many events of one id, oldest first."""
        ...

    async def delete_before(self, moment: datetime, most: int) -> int:
        """Up to so many of those that were added first, as far as they are older than this; how many."""
        ...


class Usages(Protocol):
    """What was used: by function and hour, and the totals of calls and tasks, by id."""

    async def add(self, hourly: Sequence[FunctionUsage], totals: Mapping[str, Usage], at: datetime) -> None:
        """To what is there. `hourly` begin with their hours."""
        ...

    async def sums(
        self,
        since: datetime,
        until: datetime,
        *,
        step: timedelta | None = None,
        app_id: str = "",
        function_ids: Sequence[FunctionId] | None = None,
    ) -> Sequence[FunctionUsage]:
        """By function and step (whole hours, counted from 1970), of the hours that begin in [since, until), oldest first; without a step
        in one. Of all apps and functions, or of these.
        """
        ...

    async def totals(self, subjects: Sequence[str]) -> Mapping[str, Total]:
        """Of those that there are."""
        ...

    async def delete_before(self, *, hours: datetime, totals: datetime) -> None:
        """Hours that began before this, and totals that nothing was added to since then."""
        ...


class Metrics(Protocol):
    """What functions did, in buckets of time."""

    async def put(self, buckets: Sequence[Bucket]) -> None:
        """By function, width and start."""
        ...

    async def between(
        self, width: int, since: datetime, until: datetime, function_ids: Collection[FunctionId] | None = None
    ) -> Sequence[Bucket]:
        """Buckets of this width that start in [since, until), in order of time: of all functions, or of these."""
        ...

    async def delete_before(self, width: int, moment: datetime) -> int:
        """Those of this width that started earlier; how many."""
        ...


class Content(Protocol):
    """Bytes by digest (SHA-256, hex), outside transactions: content that is there is whole, and never changes."""

    async def open(self) -> None: ...
    def has(self, digest: str) -> bool: ...
    async def missing(self, digests: Sequence[str]) -> Sequence[str]:
        """Those that are not here, in the order in which they were asked."""
        ...

    def path_of(self, digest: str) -> Path:
        """The file with this content. Raises NotFound."""
        ...

    async def put_bytes(self, data: bytes, expected: str | None = None) -> str:
        """Store the data; its digest. Raises InvalidRequest if another digest was expected."""
        ...

    async def write(
        self, chunks: AsyncIterator[bytes], *, digest: str | None, size: int, md5: str | None = None, is_exact: bool = True
    ) -> StoredContent:
        """Store a stream if it has exactly this size (at most this one unless `is_exact`) and, where given, these digests; otherwise
        InvalidRequest, and nothing stays.
        """
        ...

    async def delete(self, digest: str) -> None:
        """Safe to repeat."""
        ...

    async def inventory(self) -> Sequence[tuple[str, int, datetime]]:
        """Digest, size and time of writing of everything here."""
        ...


class VolumeFiles(Protocol):
    """What is in volumes, outside transactions, while containers that have them mounted read and write it too.

    A path is what `domain.volumes.path_parts` made of what somebody said: it holds no `..`. Links are never followed, on the way to a file
    or at its end, so nothing that a container puts into a volume leads out of it. Raises NotFound for what is not there, and InvalidRequest
    for what is no file or folder where one must be. A file that is written appears under its name whole and at once; whoever has the
    former one open goes on reading that.
    """

    async def open(self) -> None:
        """Delete what an engine that was killed has left half-written or half-deleted."""
        ...

    async def create(self, volume_id: VolumeId) -> None:
        """Have a place for its files. Safe to repeat."""
        ...

    async def delete(self, volume_id: VolumeId) -> None:
        """With all that is in it. Safe to repeat."""
        ...

    async def sync(self, volume_id: VolumeId) -> None:
        """Returns when all that was written to it, by anybody, is on the disk."""
        ...

    def entries(self, volume_id: VolumeId, path: Parts, *, recursive: bool) -> AsyncGenerator[Sequence[Entry], None]:
        """In batches: what is in a folder, or the one file that has this path."""
        ...

    async def check_absent(self, volume_id: VolumeId, paths: Sequence[Parts]) -> None:
        """Raises AlreadyExists if one of these is there."""
        ...

    async def put(self, volume_id: VolumeId, files: Sequence[NewFile], *, overwrite: bool) -> None:
        """Write files, and folders for them, from content that is stored. They are on the disk when it returns. Raises AlreadyExists where
        one is there and may not be overwritten; a folder never is.
        """
        ...

    async def copy(self, volume_id: VolumeId, sources: Sequence[Parts], target: Parts, *, into: bool, recursive: bool) -> None:
        """As `cp` does: into the target if it is a folder, which it must be for several sources, or with `into`."""
        ...

    async def remove(self, volume_id: VolumeId, path: Parts, *, recursive: bool) -> None:
        """A file, or with `recursive` a folder; of the root, all that is in it."""
        ...

    async def find(self, volume_id: VolumeId, path: Parts) -> FoundFile:
        """A regular file."""
        ...

    async def open_found(self, volume_id: VolumeId, found: FoundFile) -> BinaryIO:
        """For reading, unbuffered; the caller closes it. Raises Conflict if another file has this path now, or if it is shorter."""
        ...


class Transaction(Protocol):
    environments: Environments
    apps: Apps
    functions: Functions
    overrides: Overrides
    calls: Calls
    images: Images
    mounts: Mounts
    secrets: Secrets
    volumes: Volumes
    proxy_tokens: ProxyTokens
    tokens: Tokens
    schedules: Schedules
    tasks: Tasks
    blobs: Blobs
    events: Events
    usages: Usages
    metrics: Metrics


class Store(Protocol):
    """Transactions over all aggregates. `open` prepares (folders, migrations), `close` waits for what is under way."""

    async def open(self) -> None: ...
    async def close(self) -> None: ...
    def transaction(self) -> AbstractAsyncContextManager[Transaction]: ...
