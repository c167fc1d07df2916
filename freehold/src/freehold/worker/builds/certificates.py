"""Gives base images the certificates of the site, so that downloads work behind a proxy with a private authority."""

import hashlib
from pathlib import Path

import anyio.to_thread

from freehold.domain.ids import LayerId
from freehold.wire.worker import BuiltImage
from freehold.worker.builds.bench import Bench, Command
from freehold.worker.builds.layers import Layers, layer_key
from freehold.worker.builds.output import BuildLog
from freehold.worker.builds.rootfs import make_folders, read_text, resolve
from freehold.worker.builds.running import StepRunner
from freehold.worker.builds.site import CA_BUNDLE, missing_certificates
from freehold.worker.ports import Snapshotter

_FOLDER = "/usr/local/share/ca-certificates"  # where Debian's and Alpine's tools look for those of the site
_UPDATE = "/usr/sbin/update-ca-certificates"


class SiteCertificates:
    """Adds a layer with the certificates that the machine trusts and an image does not. Mostly there are none, and no layer."""

    def __init__(self, *, snapshots: Snapshotter, layers: Layers, runner: StepRunner, machine_bundle: Path = Path(CA_BUNDLE)) -> None:
        self._snapshots = snapshots
        self._layers = layers
        self._runner = runner
        self._machine_bundle = machine_bundle

    async def added_to(self, image: BuiltImage, log: BuildLog) -> BuiltImage:
        missing = await anyio.to_thread.run_sync(self._missing, image.layers)
        if not missing:
            return image
        digests = sorted(hashlib.sha256(certificate.encode()).hexdigest() for certificate in missing)

        async def make(bench: Bench) -> None:
            await anyio.to_thread.run_sync(_write, bench.rootfs, missing)
            if resolve(bench.rootfs, _UPDATE).exists():
                await self._runner.step(bench, Command(argv=(_UPDATE,), env=image.config.env), log, "Adding the certificates of this site")

        layer = await self._layers.ensure(layer_key("certificates", image.layers, digests=digests), image.layers, make)
        return BuiltImage(layers=(*image.layers, layer), config=image.config)

    def _missing(self, layers: tuple[LayerId, ...]) -> tuple[str, ...]:
        if not self._machine_bundle.is_file():
            return ()
        of_layers = (read_text(self._snapshots.path(layer), CA_BUNDLE) for layer in reversed(layers))
        return missing_certificates(self._machine_bundle.read_text(errors="replace"), next(filter(None, of_layers), ""))


def _write(root: Path, certificates: tuple[str, ...]) -> None:
    folder = resolve(root, _FOLDER)
    make_folders(root, folder)
    for number, certificate in enumerate(certificates):
        (folder / f"site-{number}.crt").write_text(certificate + "\n")
    bundle = resolve(root, CA_BUNDLE)
    make_folders(root, bundle.parent)
    with bundle.open("a") as file:
        file.write("\n".join(("", *certificates, "")))
