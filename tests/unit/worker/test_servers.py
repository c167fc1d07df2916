"""The package that serves HTTP in containers, made of the engine's own packages, in a Python that has none of them on its path."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from freehold.container import serving
from freehold.worker import servers

_SCRIPT = """
import asyncio, sys
from freehold_web import serving

async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})

async def main():
    server = serving.Server({"": serving.Site(app, {})}, lambda *ids: None)
    await server.start(sys.argv[1])
    reader, writer = await asyncio.open_unix_connection(sys.argv[1])
    writer.write(b"GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
    print((await reader.readuntil(b"ok")).split()[1].decode())
    writer.write(b"GET / HTTP/1.1\\r\\nHost: x\\r\\nConnection: Upgrade\\r\\nUpgrade: websocket\\r\\nSec-WebSocket-Version: 13\\r\\n"
                 b"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\\r\\n\\r\\n")
    print((await reader.readuntil(b"\\r\\n")).split()[1].decode())
    await server.interrupt()

from freehold_web import uvloop
uvloop.run(main())
print(sorted({name.partition(".")[0] for name in sys.modules} & {"uvicorn", "click", "h11", "websockets"}))
"""


def test_it_stands_alone_under_its_own_name(tmp_path: Path) -> None:
    packages = {name: Path(find_spec(name).origin).parent for name in ("uvicorn", "httptools", "websockets", "uvloop")}
    servers._assemble(packages, Path(serving.__file__).read_text(), tmp_path / servers.PACKAGE)

    script = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{_SCRIPT}"
    command = [sys.executable, "-I", "-S", "-c", script, str(tmp_path / "s")]
    ran = subprocess.run(command, capture_output=True, check=False, text=True, timeout=30)

    assert ran.stdout.splitlines() == ["200", "500", "[]"], ran.stderr
