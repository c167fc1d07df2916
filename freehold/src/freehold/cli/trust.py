"""`freehold trust`: the certificate authority of this home, and how other programs learn to trust it."""

from typing import Annotated

import typer

Print = Annotated[bool, typer.Option("--print", help="Only the certificate itself, as PEM.")]


def trust(*, print_: Print = False) -> None:
    """Show where the certificate authority of `freehold up --tls` is, and how to trust it; make it if there is none."""
    from datetime import UTC, datetime

    from freehold.config import Settings
    from freehold.store.authority import Authority

    path = Authority.open(Settings.load().root, datetime.now(UTC)).path
    if print_:
        typer.echo(path.read_text(), nl=False)
        return
    typer.echo(f"{path}\n\n{_WAYS.format(path=path)}")


_WAYS = """Machines and programs that trust this certificate trust the HTTPS of this engine:

  Debian, Ubuntu   sudo cp {path} /usr/local/share/ca-certificates/freehold.crt && sudo update-ca-certificates
  Fedora, RHEL     sudo cp {path} /etc/pki/ca-trust/source/anchors/freehold.pem && sudo update-ca-trust
  macOS            sudo security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain {path}
  Firefox          Settings > Certificates > Authorities > Import
  curl             curl --cacert {path} https://…
  Python, OpenSSL  SSL_CERT_FILE={path}    (requests: REQUESTS_CA_BUNDLE)
  Node             NODE_EXTRA_CA_CERTS={path}

On another machine: `freehold trust --print > freehold.crt` here, then copy the file. Its key never leaves {path}'s folder; whoever has
that key can pretend to be any site to those who trust it."""
