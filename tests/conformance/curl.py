"""What a person with curl gets, whatever their resolver knows."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

SSL_CONNECT_ERROR, CERTIFICATE_NOT_TRUSTED = 35, 60  # exit statuses of curl


@dataclass(frozen=True)
class Fetched:
    code: int  # curl's exit status
    status: int
    text: str


def curl(url: str, *options: str, trusting: Path | None = None) -> Fetched:
    """One request to this machine under the name in the URL. `trusting` is a certificate authority."""
    address = urlsplit(url)
    command = ["curl", "-sS", "--max-time", "60", "--resolve", f"{address.hostname}:{address.port}:127.0.0.1", "-w", "\n%{http_code}"]
    if trusting:
        command += ["--cacert", str(trusting)]
    ran = subprocess.run([*command, *options, url], capture_output=True, text=True, timeout=90, check=False)
    text, _, status = ran.stdout.rpartition("\n")
    return Fetched(ran.returncode, int(status), text)
