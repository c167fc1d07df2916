"""What a person reads when something is not in the store: the same sentences from every implementation."""

from functools import partial

from freehold.domain.errors import NotFound


def environment(name: str) -> NotFound:
    return NotFound(f"No environment named {name[:80]!r}. Create it with: modal environment create {name[:80]}")


def _by_id(noun: str, hint: str, identifier: str) -> NotFound:
    return NotFound(f"No {noun} with the id {identifier[:80]!r}. {hint}")


_OUTDATED = "Its app may have been stopped or deployed anew: look it up by name again."

app = partial(_by_id, "app", "List the apps of an environment with: modal app list")
function = partial(_by_id, "function", _OUTDATED)
user_class = partial(_by_id, "class", _OUTDATED)
definition = partial(_by_id, "definition", "Deploy its app again.")
image = partial(_by_id, "image", "Deploy its app again to build it.")
mount = partial(_by_id, "mount", "Deploy its app again to upload its files.")
secret = partial(_by_id, "secret", "List the secrets of an environment with: modal secret list")
task = partial(_by_id, "task", "List the running ones with: modal container list")
volume = partial(_by_id, "volume", "It may have been deleted. List those of an environment with: modal volume list")
token = partial(_by_id, "token", "List them with: freehold tokens")
proxy_token = partial(_by_id, "proxy token", "List them with: modal workspace proxy-tokens list")
