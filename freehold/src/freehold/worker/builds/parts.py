"""The parts of a builder, joined: the assembly need not know them one by one."""

from pathlib import Path

from freehold.domain.clock import Clock
from freehold.wire.worker import WorkerReports
from freehold.worker.builds.bases import MachineBases
from freehold.worker.builds.bench import Benches
from freehold.worker.builds.builder import Builder, BuildParts
from freehold.worker.builds.certificates import SiteCertificates
from freehold.worker.builds.debian import DebianBases
from freehold.worker.builds.functions import BuildFunctions
from freehold.worker.builds.layers import Layers
from freehold.worker.builds.python import PythonInstaller
from freehold.worker.builds.registry import Registry
from freehold.worker.builds.running import StepRunner
from freehold.worker.builds.tools import Tools
from freehold.worker.gpus import Gpus
from freehold.worker.ports import Bundles, ContentStore, Networks, Runtime, Snapshotter, Trees


def make_builder(
    *,
    home: Path,
    runtime: Runtime,
    snapshots: Snapshotter,
    networks: Networks,
    content: ContentStore,
    trees: Trees,
    bundles: Bundles,
    reports: WorkerReports,
    gpus: Gpus,
    clock: Clock,
    base_image_source: str = "auto",
) -> Builder:
    benches = Benches(snapshots=snapshots, runtime=runtime, networks=networks)
    layers = Layers(benches)
    runner = StepRunner(home=home)
    pythons = PythonInstaller(home=home, runner=runner)
    bases = MachineBases(
        registry=Registry(home=home, layers=layers),
        debian=DebianBases(layers=layers, runner=runner, pythons=pythons),
        tools=Tools(layers),
        certificates=SiteCertificates(snapshots=snapshots, layers=layers, runner=runner),
        source=base_image_source,
    )
    functions = BuildFunctions(home=home, benches=benches, runner=runner, trees=trees, bundles=bundles, reports=reports)
    return Builder(
        BuildParts(
            benches=benches,
            layers=layers,
            runner=runner,
            bases=bases,
            pythons=pythons,
            functions=functions,
            content=content,
            gpus=gpus,
            clock=clock,
        )
    )
