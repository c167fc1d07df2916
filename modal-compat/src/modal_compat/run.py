"""`python -m modal_compat.run …`: modal's own command, for apps with old names.

The module is imported again in each process that `modal serve` starts for a changed app, which therefore has them too.
"""

from __future__ import annotations

import sys
from typing import Any

from modal_compat import hook

hook.activate()


def main() -> None:
    from modal import __main__

    sys.argv[0] = "modal"  # so it calls itself, too, once nobody says that this is a module
    sys.modules["__main__"].__package__ = None
    program: Any = __main__
    program.main()


if __name__ == "__main__":
    main()
