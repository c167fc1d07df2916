"""Which versions of the modal SDK the engine was seen to serve: docs/reference/sdk-versions.md, from what `make conformance-versions` wrote down."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from freehold.config import Settings
from freehold.domain.clients import NEWEST, OLDEST
from freehold.domain.environments import builder_version_for
from freehold.domain.seams import Transport, has_proved_runtime, seams_for

CHECKOUT = Path(__file__).parents[1]
RESULTS = CHECKOUT / "tests" / "sdks" / "results.json"
_NEWEST_BUILDER = Settings.model_fields["image_builder_version"].default


def page(note: str) -> str:
    results: dict[str, dict[str, bool]] = json.loads(RESULTS.read_text())
    capabilities = list(next(reversed(results.values())))
    return f"""# Versions of the SDK

{note}

Each of these versions was run against one and the same engine, with its own `modal` command and its own containers: `make conformance-versions`,
which writes this page. ✓: it worked, ✗: it did not, -: not for this version. What to know about older ones: [older
clients](../howto/older-clients.md).

| modal | {" | ".join(capabilities)} | image builder | containers |
|---|{"---|" * len(capabilities)}---|---|
{"".join(_row(version, seen, capabilities) for version, seen in results.items())}
Versions in between are served in the same way and were not tried; older ones than {OLDEST.rpartition(".")[0]} are refused. Newer ones than {NEWEST} are served with a
warning at deploy. Containers: *forked* ones take their inputs over the engine's own socket and serve HTTP themselves; *stock* ones run the
SDK's own entrypoint as it is.
"""


def _row(version: str, seen: Mapping[str, bool], capabilities: list[str]) -> str:
    marks = [_mark(seen.get(capability)) for capability in capabilities]
    builder = builder_version_for(version, _NEWEST_BUILDER)
    containers = "forked" if has_proved_runtime(seams_for(version, Transport.AUTO)) else "stock"
    return f"| {version} | {' | '.join(marks)} | {builder} | {containers} |\n"


def _mark(worked: bool | None) -> str:
    if worked is None:
        return "-"
    return "✓" if worked else "✗"


if __name__ == "__main__":
    sys.stdout.write(page(""))
