"""Identifiers, in the shapes that the modal client checks: a short prefix and 22 characters of base 62.

The client decides by shape whether an argument is an id or a name (`^ap-[a-zA-Z0-9]{22}$`), so the length is part of the protocol.
"""

import re
import secrets
import string
import time
from functools import lru_cache
from typing import NewType

EnvironmentId = NewType("EnvironmentId", str)
AppId = NewType("AppId", str)
FunctionId = NewType("FunctionId", str)
DefinitionId = NewType("DefinitionId", str)
ClassId = NewType("ClassId", str)
ImageId = NewType("ImageId", str)
MountId = NewType("MountId", str)
SecretId = NewType("SecretId", str)
BlobId = NewType("BlobId", str)
CallId = NewType("CallId", str)
InputId = NewType("InputId", str)
TaskId = NewType("TaskId", str)
LayerId = NewType("LayerId", str)
ProxyTokenId = NewType("ProxyTokenId", str)
TokenId = NewType("TokenId", str)
TokenFlowId = NewType("TokenFlowId", str)
VolumeId = NewType("VolumeId", str)

_ALPHABET = string.ascii_letters + string.digits
_IN_ORDER = "".join(sorted(_ALPHABET))
_BODY_LENGTH = 22
_MOMENT_LENGTH = 7
_EVEN = 256 - 256 % len(_ALPHABET)  # bytes from here on would make some letters likelier than others
_LETTERS = bytes(ord(_ALPHABET[byte % len(_ALPHABET)]) for byte in range(256))
_UNEVEN = bytes(range(_EVEN, 256))
_SHAPE = re.compile(r"[a-z]{2}-[a-zA-Z0-9]{22}")


def _fresh(prefix: str) -> str:
    return f"{prefix}-{_letters(_BODY_LENGTH)}"


def _letters(count: int) -> str:
    """Each call makes several ids, so their letters are taken from random bytes at once."""
    letters = b""
    while len(letters) < count:
        letters += secrets.token_bytes(2 * count).translate(_LETTERS, _UNEVEN)
    return letters[:count].decode()


def _timed(prefix: str) -> str:
    """For what is made by the thousand: ids of one moment begin alike, so what is written together lies together in the database. The
    fifteen letters behind that cannot be guessed either.
    """
    return f"{prefix}-{_moment(time.time_ns() // 1_000_000)}{_letters(_BODY_LENGTH - _MOMENT_LENGTH)}"


@lru_cache(maxsize=1)
def _moment(milliseconds: int) -> str:
    """In letters whose order, as bytes, is that of time; until the year 2081."""
    letters = ""
    for _ in range(_MOMENT_LENGTH):
        milliseconds, digit = divmod(milliseconds, len(_IN_ORDER))
        letters = _IN_ORDER[digit] + letters
    return letters


def new_environment_id() -> EnvironmentId:
    return EnvironmentId(_fresh("en"))


def new_app_id() -> AppId:
    return AppId(_fresh("ap"))


def new_function_id() -> FunctionId:
    return FunctionId(_fresh("fu"))


def new_definition_id() -> DefinitionId:
    return DefinitionId(_fresh("de"))


def new_class_id() -> ClassId:
    return ClassId(_fresh("cs"))


def new_image_id() -> ImageId:
    return ImageId(_fresh("im"))


def new_mount_id() -> MountId:
    return MountId(_fresh("mo"))


def new_secret_id() -> SecretId:
    return SecretId(_fresh("st"))


def new_volume_id() -> VolumeId:
    return VolumeId(_fresh("vo"))


def new_blob_id() -> BlobId:
    return BlobId(_fresh("bl"))


def new_call_id() -> CallId:
    return CallId(_timed("fc"))


def new_input_id() -> InputId:
    return InputId(_timed("in"))


def new_request_ids() -> tuple[InputId, CallId]:
    """Of a web request that goes to its container directly: one random body for both, so that either is known from the other."""
    call_id = new_call_id()
    return InputId(f"in{call_id[2:]}"), call_id


def call_of_request(input_id: InputId) -> CallId:
    """The other id of such a request."""
    return CallId(f"fc{input_id[2:]}")


def new_task_id() -> TaskId:
    return TaskId(_fresh("ta"))


def new_proxy_token_id() -> ProxyTokenId:
    return ProxyTokenId(_fresh("wk"))


def new_proxy_token_secret() -> str:
    return _fresh("ws")


def new_token_id() -> TokenId:
    return TokenId(_fresh("ak"))


def new_token_secret() -> str:
    return _fresh("as")


def new_token_flow_id() -> TokenFlowId:
    return TokenFlowId(_fresh("tf"))


def is_id(text: str, prefix: str) -> bool:
    """Whether the text has the shape of an id with this prefix (without its dash)."""
    return text.startswith(prefix + "-") and _SHAPE.fullmatch(text) is not None
