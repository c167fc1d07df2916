"""The self-contained Pythons of this machine: prefixes that hold everything of an interpreter and can be copied elsewhere."""

import hashlib
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_PLACES = ("{home}/pythons/*", "{pyenv}/versions/*", "{uv}/cpython-3*", "/opt/python*", "/opt/*/python*", "/usr/local")
_INTERPRETER = re.compile(r"^python(3\.\d+)$")
_ASK = "import sys; print('%d.%d.%d' % sys.version_info[:3], sys.base_prefix)"
_ANSWER_SECONDS = 10
_OLDEST = (3, 9)  # the oldest that the client supports
_SKIPPED_FOLDERS = frozenset({"site-packages", "test", "tests", "idle_test", "turtledemo"})
_SKIPPED_FILES = re.compile(r".*\.a$|_tkinter\..*\.so$|.*\.opt-[12]\.pyc$")
# Text files in which a build of Python writes where it lives; compilers of extensions read them.
_WITH_PREFIX = (
    "lib/python{series}/_sysconfigdata_*.py",
    "lib/python{series}/config-*/Makefile",
    "lib/pkgconfig/python*.pc",
    "bin/python*-config",
)
# Debian packages of the libraries that builds of CPython link to.
_PACKAGES = {
    "libssl.so.3": "libssl3",
    "libcrypto.so.3": "libssl3",
    "libssl.so.1.1": "libssl1.1",
    "libcrypto.so.1.1": "libssl1.1",
    "libffi.so.7": "libffi7",
    "libffi.so.8": "libffi8",
    "libsqlite3.so.0": "libsqlite3-0",
    "libz.so.1": "zlib1g",
    "libbz2.so.1.0": "libbz2-1.0",
    "liblzma.so.5": "liblzma5",
    "libzstd.so.1": "libzstd1",
    "libreadline.so.8": "libreadline8",
    "libncursesw.so.6": "libncursesw6",
    "libpanelw.so.6": "libncursesw6",
    "libtinfo.so.6": "libtinfo6",
    "libuuid.so.1": "libuuid1",
    "libexpat.so.1": "libexpat1",
    "libcrypt.so.1": "libcrypt1",
    "libgdbm.so.6": "libgdbm6",
    "libgdbm_compat.so.4": "libgdbm-compat4",
    "libdb-5.3.so": "libdb5.3",
    "libnsl.so.2": "libnsl2",
    "libtirpc.so.3": "libtirpc3",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MachinePython:
    series: str
    version: str
    prefix: Path

    @property
    def fingerprint(self) -> str:
        """Changes when this Python is built anew."""
        binary = (self.prefix / "bin" / f"python{self.series}").stat()
        facts = f"{self.version} {self.prefix} {binary.st_size} {binary.st_mtime_ns}"
        return hashlib.sha256(facts.encode()).hexdigest()[:16]


def find_pythons(home: Path) -> dict[str, MachinePython]:
    """The newest self-contained Python of each series, by series. Asks each interpreter, so call it in a thread."""
    found: dict[str, MachinePython] = {}
    for prefix in _prefixes(home):
        for python in _pythons_of(prefix):
            best = found.get(python.series)
            if best is None or _order(python.version) > _order(best.version):
                found[python.series] = python
    return found


def _prefixes(home: Path) -> Iterator[Path]:
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share"
    folders = {
        "home": home,
        "pyenv": os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv",
        "uv": os.environ.get("UV_PYTHON_INSTALL_DIR") or f"{data}/uv/python",
    }
    for pattern in _PLACES:
        yield from sorted(path for path in Path("/").glob(pattern.format(**folders).lstrip("/")) if path.is_dir() and not path.is_symlink())


def _pythons_of(prefix: Path) -> Iterator[MachinePython]:
    for binary in sorted(prefix.glob("bin/python3.*")):
        named = _INTERPRETER.match(binary.name)
        if named and (prefix / "lib" / binary.name / "os.py").exists() and (python := _ask(binary, prefix, named[1])):
            yield python


def _ask(binary: Path, prefix: Path, series: str) -> MachinePython | None:
    try:
        answer = subprocess.run([binary, "-I", "-S", "-c", _ASK], capture_output=True, text=True, timeout=_ANSWER_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    version, _, base = answer.stdout.strip().partition(" ")
    is_usable = Path(base) == prefix and _order(series) >= _OLDEST  # a virtual environment has its base elsewhere
    return MachinePython(series=series, version=version, prefix=prefix) if is_usable else None


def _order(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def copy_python(python: MachinePython, target: Path) -> None:
    """Copy an interpreter with its library and headers, without what other packages put into it, and make it believe in /usr/local."""
    for relative in _parts(python):
        source = python.prefix / relative
        if source.is_dir():
            shutil.copytree(source, target / relative, symlinks=True, ignore=_ignored, dirs_exist_ok=True)
        elif source.exists():
            (target / relative).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / relative, follow_symlinks=False)
    (target / "lib" / f"python{python.series}" / "site-packages").mkdir(exist_ok=True)
    _rewrite_prefix(python, target)


def _parts(python: MachinePython) -> list[str]:
    name = f"python{python.series}"
    libraries = [str(path.relative_to(python.prefix)) for path in python.prefix.glob("lib/libpython*.so*")]
    configurations = [str(path.relative_to(python.prefix)) for path in python.prefix.glob("lib/pkgconfig/python*.pc")]
    return [f"bin/{name}", f"bin/{name}-config", f"lib/{name}", f"include/{name}", *libraries, *configurations]


def _ignored(folder: str, names: list[str]) -> set[str]:
    del folder
    return {name for name in names if name in _SKIPPED_FOLDERS or _SKIPPED_FILES.match(name)}


def _rewrite_prefix(python: MachinePython, target: Path) -> None:
    for pattern in _WITH_PREFIX:
        for path in target.glob(pattern.format(series=python.series)):
            if path.is_symlink():
                continue
            mode = stat.S_IMODE(path.stat().st_mode)
            path.write_text(path.read_text(errors="surrogateescape").replace(str(python.prefix), "/usr/local"), errors="surrogateescape")
            path.chmod(mode)


def needed_packages(python: MachinePython) -> list[str]:
    """Debian packages with the libraries that this Python loads and does not bring along."""
    binaries = [python.prefix / "bin" / f"python{python.series}", *python.prefix.glob(f"lib/python{python.series}/lib-dynload/*.so")]
    return sorted(
        {_PACKAGES[name] for name in _loaded([path for path in binaries if not _SKIPPED_FILES.match(path.name)]) if name in _PACKAGES}
    )


def _loaded(binaries: Sequence[Path]) -> set[str]:
    answer = subprocess.run(["ldd", *binaries], capture_output=True, text=True, timeout=_ANSWER_SECONDS, check=False)
    return {line.split()[0] for line in answer.stdout.splitlines() if "=>" in line}
