from pathlib import Path

from freehold.worker.inspect import inspect_machine


async def test_each_lack_comes_with_its_remedy(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")

    findings = {finding.subject: finding for finding in await inspect_machine(tmp_path)}

    assert not findings["network"].is_ok
    assert "apt-get install iproute2" in findings["network"].detail
    assert [finding.subject for finding in findings.values() if not finding.is_ok and not finding.fix] == []


async def test_what_is_tried_leaves_no_trace(tmp_path):
    before = machine()

    findings = await inspect_machine(tmp_path / "home")

    assert {"runtime", "init", "cgroups", "overlay", "network", "pythons", "gpus"} <= {finding.subject for finding in findings}
    assert list((tmp_path / "home").iterdir()) == []
    assert machine() == before


async def test_what_no_container_can_do_without_is_marked(tmp_path):
    required = {finding.subject for finding in await inspect_machine(tmp_path) if finding.is_required}

    assert required == {"root", "runtime", "init", "overlay"}


def machine():
    """What a trial could have left: mounts of its folder, interfaces."""
    mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if "lower" in line and "pytest" in line]
    return mounts, [entry.name for entry in Path("/sys/class/net").iterdir() if "doctor" in entry.name]
