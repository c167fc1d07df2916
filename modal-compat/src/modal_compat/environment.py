"""The environment of a `modal` command, and in it the file that gives each Python that starts there the old names."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_HOOK = "modal_compat_hook.pth"
# Python runs such a line at each start, if it begins with `import`; it must say nothing where this package is gone.
_LINE = r'import sys; exec("try:\n    from modal_compat import hook\nexcept ImportError:\n    pass\nelse:\n    hook.activate()")' + "\n"
_COPY = ".copied"  # marks a copy of this package as ours to remove
_ASK = "import importlib.metadata as m, sysconfig; print(sysconfig.get_path('purelib')); print(m.version('modal'))"
_SECONDS = 60.0


class EnvironmentFailed(Exception):
    """What is in the way, and what to do."""


@dataclass(frozen=True)
class Environment:
    python: Path
    packages: Path
    modal: str  # its version

    @property
    def hook(self) -> Path:
        return self.packages / _HOOK

    def install(self) -> None:
        """The hook, and a copy of this package where it cannot be imported. Raises EnvironmentFailed."""
        try:
            if not _runs(self.python, "import modal_compat"):
                self._copy()
            self.hook.write_text(_LINE)
        except OSError as error:
            raise EnvironmentFailed(_NOT_OURS.format(folder=self.packages, error=error)) from error

    def uninstall(self) -> bool:
        """Whether there was one. Raises EnvironmentFailed."""
        try:
            was_there = self.hook.exists()
            self.hook.unlink(missing_ok=True)
            if (self._package / _COPY).exists():
                shutil.rmtree(self._package)
        except OSError as error:
            raise EnvironmentFailed(_NOT_OURS.format(folder=self.packages, error=error)) from error
        return was_there

    @property
    def _package(self) -> Path:
        return self.packages / "modal_compat"

    def _copy(self) -> None:
        self._package.mkdir(exist_ok=True)
        for name, content in sources().items():
            (self._package / name).write_bytes(content)
        (self._package / _COPY).touch()


_NOT_OURS = "{folder} cannot be changed: {error}. Run this as the owner of that environment."


def sources() -> dict[str, bytes]:
    """The modules that a program with old names needs, by file name."""
    return {path.name: path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))}


def of_command(command: str = "modal") -> Environment:
    """That of the command on PATH, else this one. Raises EnvironmentFailed where it has no modal."""
    found = shutil.which(command)
    python = _python_of(Path(found)) if found else None
    return of_python(python or Path(sys.executable))


def of_python(python: Path) -> Environment:
    asked = _run(python, _ASK)
    if asked.returncode != 0:
        msg = f"{python} has no modal package. Install it there, or put the environment that has it first on PATH."
        raise EnvironmentFailed(msg)
    packages, version = asked.stdout.split("\n")[:2]
    return Environment(python, Path(packages), version)


def _python_of(script: Path) -> Path | None:
    """Which Python runs a console script: in its first line, or in the second where the path is too long for that."""
    with script.open(errors="replace") as file:
        lines = [file.readline() for _ in range(2)]
    found = re.match(r"#!\s*(/\S*python\S*)", lines[0]) or re.search(r"exec'? ['\"]?(/[^'\"\s]*python[^'\"\s]*)", lines[1])
    return Path(found[1]) if found else None


def _runs(python: Path, code: str) -> bool:
    return _run(python, code).returncode == 0


def _run(python: Path, code: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run([python, "-P", "-c", code], capture_output=True, text=True, timeout=_SECONDS, check=False, cwd="/")
    except OSError as error:
        msg = f"{python} cannot be run: {error}."
        raise EnvironmentFailed(msg) from error
