"""The head of a request, by a strict grammar: what could be read in two ways is refused, so that no two readers disagree about it.

Everything that a container gets is written anew from what was understood here; nothing is passed on unread.
"""

import re
from functools import cached_property

from freehold.gateway.errors import Malformed, ManyFields, UnknownExpectation, UnknownVersion

LIMIT = 128 * 1024  # bytes of address and fields; servers in front of this one commonly allow 8 to 64 KiB
MAX_FIELDS = 256

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
_FIELD = rb"\r\n" + _TOKEN + rb":[\t -~\x80-\xff]*+"
_REQUEST_LINE = rb"([A-Z][A-Z0-9_-]{0,31}) ([!-~]++) HTTP/([0-9])\.([0-9])"
_HEAD = re.compile(_REQUEST_LINE + rb"((?:" + _FIELD + rb")*+)")
_FIRST_LINE = re.compile(_REQUEST_LINE)
_BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")
_BARE_SO_FAR = re.compile(rb"\r(?!\n|\Z)|(?<!\r)\n")
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_NAME = re.compile(_TOKEN)
_ORIGIN = re.compile(rb"/[^#]*+")
_ABSOLUTE = re.compile(rb"https?://([^/?#@]++)([/?][^#]*+)?", re.IGNORECASE)
_HOST = re.compile(rb"(?:[A-Za-z0-9._~-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_UPGRADE = re.compile(_TOKEN + rb"(?:/" + _TOKEN + rb")?")
# Another protocol in which the same smuggling begins anew, and which no container needs for what a page does.
_NO_UPGRADES = (b"h2c", b"http", b"tls")

# What describes one connection (RFC 9110, 7.6.1), what the gateway answers itself, and what it tells containers in its own words.
_TAKEN = frozenset(
    {b"connection", b"keep-alive", b"proxy-authorization", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"}
    | {b"content-length", b"expect", b"host", b"http2-settings", b"modal-key", b"modal-secret"}
    | {b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-prefix", b"x-forwarded-proto"}
    | {b"traceparent", b"x-request-id"}
)
_SEEN = frozenset({b"modal-session-id"})  # read here, and passed on
_ONCE = frozenset({b"content-length", b"expect", b"host", b"modal-key", b"modal-secret", b"transfer-encoding", b"upgrade"})


class Head:
    """One request's head. `lines` are the fields that a container gets as they came; `told` are those that mean something here.

    `length` is None for a chunked body. `target` is in origin form, also where it came in another.
    """

    __slots__ = (
        "__dict__",
        "expects",
        "fields_block",
        "host",
        "keeps_alive",
        "length",
        "lines",
        "method",
        "minor",
        "relayed",
        "shown",
        "target",
        "told",
        "upgrade",
    )

    method: bytes
    target: bytes
    minor: int  # of HTTP/1.x
    host: bytes
    length: int | None
    lines: bytes
    told: dict[bytes, bytes]
    keeps_alive: bool
    expects: bool  # `100-continue`
    upgrade: bytes  # the protocol, in small letters; empty: none
    fields_block: bytes
    relayed: tuple[object, bytes] | None  # how it was written for a container before, and for which function
    shown: tuple[str, str] | None  # the proxy token in it, once somebody has looked

    def __init__(self, data: bytes) -> None:
        """`data` is everything before the empty line. Raises what says to the caller what is wrong with it."""
        match = _HEAD.fullmatch(data)
        if match is None:
            raise Malformed(_fault(data))
        self.relayed = self.shown = None
        self.method, self.target, major, minor, self.fields_block = match.groups()
        if major != b"1" or minor not in b"01":
            text = "The gateway speaks HTTP/1.1 and HTTP/1.0."
            raise UnknownVersion(text)
        self.minor = int(minor)
        self._read_fields()
        self._read_framing()
        self._read_target()
        self._read_connection()

    @property
    def path(self) -> bytes:
        return self.target.partition(b"?")[0]

    @cached_property
    def fields(self) -> list[tuple[bytes, bytes]]:
        """All fields in order, names in small letters: as ASGI has them."""
        pairs = (line.partition(b":") for line in self.fields_block.split(b"\r\n")[1:])
        return [(name.lower(), value.strip(b" \t")) for name, _, value in pairs]

    def field(self, name: bytes) -> bytes:
        return next((value for known, value in self.fields if known == name), b"")

    @property
    def is_idempotent(self) -> bool:
        return self.method in _IDEMPOTENT

    def _read_fields(self) -> None:
        told: dict[bytes, bytes] = {}
        lines = self.fields_block.split(b"\r\n")
        if len(lines) > MAX_FIELDS:
            text = f"A request may have {MAX_FIELDS} fields."
            raise ManyFields(text)
        kept: list[bytes] = []
        for line in lines:
            name, _, value = line.partition(b":")
            name = name.lower()
            if name in _TAKEN or name in _SEEN:
                _tell(told, name, value.strip(b" \t"))
                if name in _TAKEN:
                    continue
            elif name.startswith(b"x-freehold-"):
                continue  # the gateway's own words to its containers
            elif b"_" in name and name.replace(b"_", b"-") in _TAKEN:
                text = f"The field {name.decode()} could be taken for another one: write it with dashes."
                raise Malformed(text)
            kept.append(line)
        if b"connection" in told:
            kept = _without_named(kept, told[b"connection"])
        self.told = told
        self.lines = b"\r\n".join(kept)  # begins with the end of the line before, or is empty

    def _read_framing(self) -> None:
        length, coding = self.told.get(b"content-length"), self.told.get(b"transfer-encoding")
        if coding is not None:
            self._check_coding(coding, length)
            self.length = None
        elif length is None:
            self.length = 0
        elif _LENGTH.fullmatch(length):
            self.length = int(length)
        else:
            text = "Content-Length must be one number in decimal digits."
            raise Malformed(text)

    def _check_coding(self, coding: bytes, length: bytes | None) -> None:
        if length is not None:
            text = "A request has either Content-Length or Transfer-Encoding, not both."
            raise Malformed(text)
        if coding.lower() != b"chunked":
            text = "The only transfer coding of requests is chunked."
            raise Malformed(text)
        if not self.minor:
            text = "HTTP/1.0 has no Transfer-Encoding."
            raise Malformed(text)

    def _read_target(self) -> None:
        host = self.told.get(b"host")
        if host is None and self.minor:
            text = "A request of HTTP/1.1 has a Host field."
            raise Malformed(text)
        if host is not None and not _HOST.fullmatch(host):
            text = "The Host field is not a name or address with an optional port."
            raise Malformed(text)
        self.host = host or b""
        if self.method == b"CONNECT" or not _ORIGIN.fullmatch(self.target):
            self._read_absolute_target()

    def _read_absolute_target(self) -> None:
        """Not of CONNECT, which has no body for some readers, whatever its fields say."""
        match = _ABSOLUTE.fullmatch(self.target)
        if match is None or self.method == b"CONNECT":
            text = "The target of a request is a path, or a whole http URL. (There is no CONNECT here, nor OPTIONS *.)"
            raise Malformed(text)
        authority, rest = match[1], match[2] or b"/"
        if not _HOST.fullmatch(authority) or (self.host and self.host.lower() != authority.lower()):
            text = "The URL in the first line and the Host field name different hosts."
            raise Malformed(text)
        self.host = authority
        self.target = rest if rest.startswith(b"/") else b"/" + rest

    def _read_connection(self) -> None:
        told = self.told
        self.keeps_alive, self.upgrade = bool(self.minor), b""
        if b"connection" in told:
            options = {option.strip().lower() for option in told[b"connection"].split(b",")}
            self.keeps_alive = b"close" not in options and (self.keeps_alive or b"keep-alive" in options)
            if b"upgrade" in options and b"upgrade" in told:
                self.upgrade = self._upgrade(told[b"upgrade"].lower())
        expected = told.get(b"expect", b"").lower()
        if expected not in {b"", b"100-continue"}:
            text = "The only expectation that is met here is 100-continue."
            raise UnknownExpectation(text)
        self.expects = bool(expected and self.minor and self.length != 0)

    def _upgrade(self, wished: bytes) -> bytes:
        """An upgrade that is not for us is passed over, as RFC 9110, 7.8 has it."""
        is_possible = self.minor and self.length == 0 and _UPGRADE.fullmatch(wished) and not wished.startswith(_NO_UPGRADES)
        return wished if is_possible else b""


_IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"})


def fault_so_far(data: bytes, start: int) -> str:
    """What is wrong already with a head whose end is not there yet, and which was looked at up to `start`; empty: nothing."""
    if not start and data != b"\r" and not 0x41 <= data[0] <= 0x5A:  # noqa: PLR2004 — A to Z
        return "This is no HTTP request: it does not begin with a method."
    return "A line ends with CR and LF, and neither stands alone." if _BARE_SO_FAR.search(data, start) else ""


def _tell(told: dict[bytes, bytes], name: bytes, value: bytes) -> None:
    if name not in told:
        told[name] = value
    elif name in _ONCE:
        text = f"The field {name.decode()} may be there only once."
        raise Malformed(text)
    else:
        told[name] += b", " + value


def _without_named(lines: list[bytes], connection: bytes) -> list[bytes]:
    """Fields that `Connection` names end here."""
    named = {option.strip().lower() for option in connection.split(b",")} - _SEEN
    return [line for line in lines if not line or line.partition(b":")[0].lower() not in named]


def _fault(data: bytes) -> str:
    """The first thing in a head that is not as it must be, in one sentence."""
    if _BARE.search(data):
        return "A line ends with CR and LF, and neither stands alone."
    if _CONTROL.search(data):
        return "There are control characters in the head."
    first, *fields = data.split(b"\r\n")
    if not _FIRST_LINE.fullmatch(first):
        return "The first line is not `METHOD target HTTP/1.1`, with one space between each."
    return next(filter(None, map(_field_fault, fields)), "The head cannot be read.")


def _field_fault(line: bytes) -> str:
    name, colon, _ = line.partition(b":")
    if line[:1] in {b" ", b"\t"}:
        return "A field may not go on in the next line."
    if not colon:
        return "A field without a colon."
    if name.rstrip(b" \t") != name:
        return "There may be no space before the colon of a field."
    return "" if _NAME.fullmatch(name) else "The name of a field has a character that names do not have."
