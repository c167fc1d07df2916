"""The reference page of the old names, from the table."""

from __future__ import annotations

from modal_compat.names import NAMES, OldName


def old_names_page(note: str) -> str:
    return f"""# Old names

{note}

Names of older modal SDKs, with what to write today. What today's SDK does with one by itself stands in the third column; with the hook
([how](../howto/old-names.md)) each does what its successor does, and the program is told once which that is.

| old name | write | modal 1.6.4 by itself |
|---|---|---|
{chr(10).join(map(_row, NAMES))}
"""


def _row(name: OldName) -> str:
    of = f" of {name.where}" if name.where else ""
    note = f". {name.note}" if name.note else ""
    return f"| `{name.old}`{of} | {name.new}{note} | {name.today} |"
