"""What the modal package needs to reach an engine: its address and this home's token."""

from freehold.cli import engine
from freehold.config import Settings
from freehold.store.keyring import Keyring


def access(settings: Settings) -> dict[str, str]:
    """By the names that modal's profiles use; in capitals after `MODAL_`, those of its environment variables."""
    running = engine.find(settings.root)
    keyring = Keyring.open(settings.root)
    return {
        "server_url": running.control_url if running else settings.control_url,
        "token_id": keyring.token_id,
        "token_secret": keyring.token_secret,
    }
