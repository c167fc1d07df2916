"""What a caller of a guarded function shows: a proxy token, in two fields of Modal's or as a bearer. It ends at the gateway."""

from freehold.gateway.heads import Head

_KEYS = b"wk-"  # how ids of proxy tokens begin; other bearers are the app's own affair


def credentials(head: Head) -> tuple[str, str]:
    """Key and secret; empty where there are none. A bearer that is a proxy token is taken off, so that no container sees it."""
    if head.shown is None:  # programs ask the same again, and this is the head that was read before
        head.shown = _read(head)
    return head.shown


def _read(head: Head) -> tuple[str, str]:
    if b"modal-key" in head.told:
        return head.told[b"modal-key"].decode("latin-1"), head.told.get(b"modal-secret", b"").decode("latin-1")
    scheme, _, token = head.field(b"authorization").partition(b" ")
    token = token.strip()
    if scheme.lower() != b"bearer" or not token.startswith(_KEYS):
        return "", ""
    _take_off(head, b"authorization")
    key, _, secret = token.decode("latin-1").partition(".")
    return key, secret


def _take_off(head: Head, name: bytes) -> None:
    head.fields = [field for field in head.fields if field[0] != name]
    lines = head.lines.split(b"\r\n")
    head.lines = b"\r\n".join(line for line in lines if line.partition(b":")[0].lower() != name)
