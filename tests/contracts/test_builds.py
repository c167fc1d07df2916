"""What builds promise, over real layers and containers: a tiny base for most, a real Debian with Python for the rest."""

import json
import shutil
import tarfile

import anyio
import pytest
from fakes.worker import RecordedReports, busybox_rootfs

from freehold.domain.clock import SystemClock
from freehold.domain.errors import InvalidRequest
from freehold.domain.files import FileTree, TreeFile
from freehold.domain.ids import ImageId, LayerId
from freehold.domain.images import ImageConfig
from freehold.store.blobs.folder import FolderBlobs
from freehold.wire.worker import BuildSpec, BuiltImage, ClientRuntime, Limits
from freehold.worker.builds.bench import Benches, Command
from freehold.worker.builds.builder import Builder, BuildParts
from freehold.worker.builds.layers import Layers
from freehold.worker.builds.output import BuildLog
from freehold.worker.builds.parts import make_builder
from freehold.worker.builds.python import PythonInstaller
from freehold.worker.builds.registry import Registry
from freehold.worker.builds.running import StepRunner
from freehold.worker.bundles import Bundles
from freehold.worker.gpus import PretendedGpus
from freehold.worker.logs import ContainerLog
from freehold.worker.network.veth import VethNetworks
from freehold.worker.runtimes.runc import RuncRuntime
from freehold.worker.snapshots.overlay import OverlaySnapshots
from freehold.worker.trees import Trees

DEADLINE = 30
CLOCK = SystemClock()


class CountingRuntime:
    """A runtime that counts its starts: a step that is found again starts nothing."""

    def __init__(self, runtime):
        self._runtime = runtime
        self.argvs = []

    async def start(self, spec):
        self.argvs.append(spec.argv)
        return await self._runtime.start(spec)

    async def sweep(self):
        return await self._runtime.sweep()

    @property
    def steps(self):
        """Without the question for the image's Python."""
        return [argv[-1] for argv in self.argvs if "command -v" not in argv[-1]]


class TinyBases:
    """One base: busybox."""

    def __init__(self, snapshots):
        self._snapshots = snapshots

    async def layers_for(self, reference, log):
        if reference != "tiny":
            msg = f"No base image {reference!r}."
            raise InvalidRequest(msg)
        layer = LayerId("tiny")
        if not self._snapshots.has(layer):
            folder = busybox_rootfs(self._snapshots.staging())
            (folder / "etc").mkdir(exist_ok=True)
            (folder / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nme:x:12:34::/:/bin/sh\n")
            self._snapshots.adopt(folder, layer)
        return BuiltImage(layers=(layer,), config=ImageConfig(env={"PATH": "/bin"}))


class Site:
    """One engine's home, with what builds need of it."""

    def __init__(self, home):
        self.home = home
        self.runtime = CountingRuntime(RuncRuntime(home=home))
        self.snapshots = OverlaySnapshots(home=home)
        self.networks = VethNetworks(home=home)
        self.content = FolderBlobs(home / "blobs")
        self.benches = Benches(snapshots=self.snapshots, runtime=self.runtime, networks=self.networks)
        self.said = []

    @property
    def parts(self):
        return {"home": self.home, "snapshots": self.snapshots, "runtime": self.runtime, "networks": self.networks}

    def tiny_builder(self):
        runner = StepRunner(home=self.home, environ={})
        return Builder(
            BuildParts(
                benches=self.benches,
                layers=Layers(self.benches),
                runner=runner,
                bases=TinyBases(self.snapshots),
                pythons=PythonInstaller(home=self.home, runner=runner),
                functions=None,
                content=self.content,
                gpus=PretendedGpus(["T4"]),
                clock=CLOCK,
            )
        )

    async def build(self, *commands, builder=None, **more):
        with anyio.fail_after(DEADLINE):
            return await (builder or self.tiny_builder()).build(a_spec(*commands, **more), self.said.extend)

    async def output(self, image, *argv, extra=(), env=()):
        log = ContainerLog(sink=lambda _: None, clock=CLOCK)
        async with self.benches.over(image.layers, extra) as bench:
            ended = await bench.run(Command(argv=argv, env={**image.config.env, **dict(env)}, user=image.config.user), log)
        assert ended.code == 0, log.tail.text()
        return log.tail.text()

    async def tree(self, **files):
        listed = [
            TreeFile(path="/" + name.replace("__", "/"), digest=await self.content.put_bytes(text.encode())) for name, text in files.items()
        ]
        return FileTree(id="context", files=tuple(listed))

    def text(self):
        return "".join(entry.text for entry in self.said)


def a_spec(*commands, **more):
    return BuildSpec(image_id=ImageId("im-1"), commands=commands, **more)


@pytest.fixture
async def site(tmp_path):
    site = Site(tmp_path)
    await site.content.open()
    await site.networks.start()
    yield site
    assert await site.snapshots.sweep() == []
    assert await site.runtime.sweep() == []
    assert list(tmp_path.glob("staging/*")) == []
    await site.networks.stop()


class TestSteps:
    async def test_steps_change_files_and_settings(self, site):
        image = await site.build("FROM tiny", "ENV GREETING=hello", "WORKDIR /app", "RUN echo $GREETING > said", 'CMD ["cat", "said"]')
        assert await site.output(image, "cat", "/app/said") == "hello"
        assert image.config == ImageConfig(env={"PATH": "/bin", "GREETING": "hello"}, workdir="/app", cmd=("cat", "said"))

    async def test_steps_have_the_gpus_that_they_are_given_and_leave_nothing_of_them(self, site):
        image = await site.build(
            "FROM tiny", "RUN ls /dev/nvidia* > /seen; echo $CUDA_VISIBLE_DEVICES >> /seen", gpus=(0,), remark="So be it."
        )
        assert await site.output(image, "cat", "/seen") == "/dev/nvidia0\n0"
        assert await site.output(image, "sh", "-c", "ls /dev/nvidia* 2>/dev/null || echo none$CUDA_VISIBLE_DEVICES") == "none"
        assert site.text().startswith("So be it.\n")

    async def test_an_image_is_built_on_an_earlier_one(self, site):
        base = await site.build("FROM tiny", "RUN echo 1 > /one")
        image = await site.build("FROM base", "RUN cp /one /two", bases={"base": base})
        assert image.layers[: len(base.layers)] == base.layers
        assert await site.output(image, "cat", "/two") == "1"

    async def test_files_come_from_the_context_and_from_other_stages(self, site):
        image = await site.build(
            "FROM tiny AS one",
            "COPY . /in",
            "RUN cat /in/a /in/sub/b /in/inline > /all",
            "FROM tiny",
            "COPY --from=one /all /all",
            context=await site.tree(a="A", sub__b="B"),
            context_files={"/inline": b"C"},
        )
        assert await site.output(image, "cat", "/all") == "ABC"
        assert len(image.layers) == 2

    async def test_the_user_of_the_image_runs_its_steps(self, site):
        image = await site.build("FROM tiny", "RUN mkdir -m 777 /w", "USER me", "RUN id -u > /w/id")
        assert await site.output(image, "cat", "/w/id") == "12"

    async def test_secrets_are_seen_by_steps_and_kept_nowhere(self, site):
        image = await site.build("FROM tiny", "RUN test $TOKEN = t0ken && echo seen > /seen", env={"TOKEN": "t0ken"})
        assert "TOKEN" not in image.config.env
        assert await site.output(image, "cat", "/seen") == "seen"
        assert "t0ken" not in site.text().replace("$TOKEN = t0ken", "")

    async def test_package_caches_stay_outside_and_the_rest_of_the_cache_folder_inside(self, site):
        """People download models to ~/.cache while building, and expect them in the image."""
        first = "RUN mkdir -p /root/.cache/models && echo m > /root/.cache/models/m && echo p > /root/.cache/pip/p"
        image = await site.build("FROM tiny", first, "RUN cat /root/.cache/pip/p > /kept")
        assert await site.output(image, "cat", "/kept") == "p"
        assert await site.output(image, "sh", "-c", "cd /root/.cache; find . -type f") == "./models/m"

    async def test_a_step_leaves_no_trace_of_what_the_engine_showed_it(self, site):
        image = await site.build("FROM tiny", "RUN touch /x")
        layer = site.snapshots.path(image.layers[-1])
        changed = {str(path.relative_to(layer)) for path in layer.rglob("*")}
        assert changed - {"root"} == {"x"}  # that folder itself is copied when a cache is shown in it, with nothing in it


class TestKeeping:
    async def test_a_second_build_runs_nothing(self, site):
        commands = ("FROM tiny", "WORKDIR /a", "RUN echo 1 > /one", "COPY f /f", "RUN echo 2 > /two")
        first = await site.build(*commands, context=await site.tree(f="f"))
        site.runtime.argvs.clear()
        assert await site.build(*commands, context=await site.tree(f="f")) == first
        assert site.runtime.steps == []

    async def test_a_changed_file_builds_from_its_copy_on(self, site):
        commands = ("FROM tiny", "RUN echo before", "COPY f /f", "RUN echo after", "RUN echo last")
        first = await site.build(*commands, context=await site.tree(f="1"))
        site.runtime.argvs.clear()
        second = await site.build(*commands, context=await site.tree(f="2"))
        assert site.runtime.steps == ["echo after", "echo last"]
        assert first.layers[:2] == second.layers[:2]
        assert not set(first.layers[2:]) & set(second.layers[2:])

    async def test_a_file_that_no_step_copies_changes_nothing(self, site):
        first = await site.build("FROM tiny", "COPY f /f", context=await site.tree(f="1", other="1"))
        assert await site.build("FROM tiny", "COPY f /f", context=await site.tree(f="1", other="2")) == first

    async def test_a_variable_builds_the_steps_after_it_anew(self, site):
        first = await site.build("FROM tiny", "ENV A=1", "RUN echo $A > /a")
        second = await site.build("FROM tiny", "ENV A=2", "RUN echo $A > /a")
        assert [await site.output(image, "cat", "/a") for image in (first, second)] == ["1", "2"]

    async def test_a_rotated_secret_builds_nothing_anew_and_another_one_does(self, site):
        first = await site.build("FROM tiny", "RUN echo", env={"A": "1"})
        assert await site.build("FROM tiny", "RUN echo", env={"A": "2"}) == first
        assert await site.build("FROM tiny", "RUN echo", env={"B": "1"}) != first

    async def test_a_forced_build_runs_every_step(self, site):
        commands = ("FROM tiny", "RUN cat /proc/sys/kernel/random/uuid > /id")
        first = await site.build(*commands)
        second = await site.build(*commands, force=True)
        assert await site.output(first, "cat", "/id") != await site.output(second, "cat", "/id")

    async def test_two_builds_of_the_same_steps_run_them_once(self, site):
        builder, images = site.tiny_builder(), []

        async def build():
            images.append(await site.build("FROM tiny", "RUN cat /proc/sys/kernel/random/uuid > /id", builder=builder))

        async with anyio.create_task_group() as group:
            group.start_soon(build)
            group.start_soon(build)
        assert images[0] == images[1]
        assert len(site.runtime.steps) == 1


class TestFailing:
    async def test_a_failing_step_says_what_it_printed_and_leaves_nothing(self, site):
        reason = await site.build("FROM tiny", "RUN echo fine", "RUN echo out; echo bad >&2; exit 3")
        assert "RUN echo out" in reason
        assert "exit status 3" in reason
        assert "out\n" in reason
        assert "bad" in reason
        assert len(list(site.home.glob("layers/*"))) == 2

    async def test_the_next_try_goes_on_after_the_finished_steps(self, site):
        await site.build("FROM tiny", "RUN echo long", "RUN exit 1")
        site.runtime.argvs.clear()
        await site.build("FROM tiny", "RUN echo long", "RUN exit 0")
        assert site.runtime.steps == ["exit 0"]

    async def test_output_comes_while_a_step_runs_and_a_cancelled_build_leaves_nothing(self, site):
        started = anyio.Event()

        def log(entries):
            if any("started" in entry.text and entry.source.name == "STDOUT" for entry in entries):
                started.set()

        with anyio.fail_after(DEADLINE):
            async with anyio.create_task_group() as group:
                group.start_soon(site.tiny_builder().build, a_spec("FROM tiny", "RUN echo started; sleep 1000"), log)
                await started.wait()
                group.cancel_scope.cancel()
        assert [path.name for path in site.home.glob("layers/*")] == ["tiny"]

    async def test_a_step_that_eats_its_memory_is_told_apart(self, site):
        reason = await site.build("FROM tiny", "RUN x=x; while :; do x=$x$x; done", limits=Limits(memory_mib=32))
        assert "ran out of memory (limit: 32 MiB)" in reason

    @pytest.mark.parametrize(
        ("commands", "reason"),
        [
            ((), "needs a FROM"),
            (("RUN x",), "first command must be FROM"),
            (("FROM nowhere",), "No base image 'nowhere'"),
            (("FROM tiny", "COPY x /"), "found nothing for 'x'"),
            (("FROM tiny", "COPY --from=missing /x /"), "No base image 'missing'"),
            (("FROM tiny", "FETCH x"), "Unknown Dockerfile command 'FETCH'"),
            (("FROM tiny", "USER nobody-here", "RUN true"), "no user of this name"),
        ],
    )
    async def test_what_cannot_be_built_is_answered_with_the_reason(self, site, commands, reason):
        assert reason in await site.build(*commands)


def an_oci_layout(folder):
    """An image named `app:latest` of two layers, the second of which removes a file of the first."""
    shutil.rmtree(folder, ignore_errors=True)
    root = busybox_rootfs(folder / "root")
    (root / "gone").write_text("x")
    blobs = folder / "app/blobs/sha256"
    blobs.mkdir(parents=True)

    def blob(data):
        import hashlib  # noqa: PLC0415 — a helper of this helper

        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"digest": f"sha256:{digest}", "size": len(data)}

    def layer(fill):
        with tarfile.open(folder / "layer.tar", "w") as tar:
            fill(tar)
        return {"mediaType": "application/vnd.oci.image.layer.v1.tar", **blob((folder / "layer.tar").read_bytes())}

    layers = [layer(lambda tar: tar.add(root, arcname=".")), layer(lambda tar: tar.addfile(tarfile.TarInfo(".wh.gone")))]
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": ["PATH=/bin"], "WorkingDir": "/w"},
        "rootfs": {"type": "layers", "diff_ids": [part["digest"] for part in layers]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **blob(json.dumps(config).encode())},
        "layers": layers,
    }
    entry = {
        "mediaType": manifest["mediaType"],
        **blob(json.dumps(manifest).encode()),
        "annotations": {"org.opencontainers.image.ref.name": "latest"},
    }
    (folder / "app/index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (folder / "app/oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


class TestRegistry:
    @pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")
    async def test_an_image_is_fetched_with_its_settings_and_whiteouts(self, site, tmp_path):
        an_oci_layout(tmp_path / "oci")
        registry = Registry(home=site.home, layers=Layers(site.benches), transport=f"oci:{tmp_path}/oci/")
        image = await registry.pull("app:latest", BuildLog(site.said.extend, CLOCK))
        assert isinstance(image, BuiltImage), image
        assert image.config == ImageConfig(env={"PATH": "/bin"}, workdir="/w")
        assert "gone" not in await site.output(image, "ls", "/")

    async def test_a_registry_that_does_not_answer_is_asked_once(self, site, tmp_path, monkeypatch):
        program = tmp_path / "bin/skopeo"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\necho asked >> {tmp_path}/asked\necho 'dial tcp: no such host' >&2\nexit 1\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
        registry = Registry(home=site.home, layers=Layers(site.benches))
        for reference in ("python:3.11", "debian:12"):
            assert "no such host" in await registry.pull(reference, BuildLog(site.said.extend, CLOCK))
        assert (tmp_path / "asked").read_text() == "asked\n"


class TestDebian:
    """A minute and a way to Debian's packages: without it nobody knows that a real base has a `python` and a `pip` that work."""

    @pytest.mark.timeout(400)
    async def test_a_python_base_serves_pip_and_the_callers_modal(self, site):
        if shutil.which("mmdebstrap") is None:
            pytest.skip("mmdebstrap is not installed")
        trees = Trees(site.home, site.content)
        bundles = Bundles(**site.parts, clock=CLOCK)
        builder = make_builder(
            **site.parts,
            content=site.content,
            trees=trees,
            bundles=bundles,
            reports=RecordedReports(),
            gpus=PretendedGpus([]),
            clock=CLOCK,
            base_image_source="debian",
        )
        image = await builder.build(a_spec("FROM python:3.11.12-slim-bookworm", "RUN pip install --no-deps six"), site.said.extend)
        assert isinstance(image, BuiltImage), image
        assert image.config.python_series == "3.11"
        assert await site.output(image, "python", "-c", "import six, ssl, sqlite3, ctypes, lzma; print(six.__name__)") == "six"

        client = ClientRuntime(version="1.6.4", python_series="3.11", with_dependencies=True, with_web=True)
        layers = await bundles.layers_for(client, image.layers)
        # `-v` tells for each module whether its bytecode was used ("matches") or written anew.
        script = "python -v -c 'import modal._container_entrypoint, fastapi' 2>&1 | grep -E 'matches|wrote|could not create' | grep -E ' /pkg| /__modal'"
        told = await site.output(image, "sh", "-c", script, extra=layers, env={"PYTHONPATH": "/root:/pkg", "MODAL_IS_REMOTE": "1"}.items())
        assert all(" matches " in line for line in told.splitlines()), told
        assert "/__modal/web/fastapi/" in told
        assert await bundles.layers_for(client, image.layers) == layers
        with pytest.raises(InvalidRequest, match=r"no package modal==99\.0"):
            await bundles.layers_for(
                ClientRuntime(version="99.0", python_series="3.11", with_dependencies=True, with_web=False), image.layers
            )
