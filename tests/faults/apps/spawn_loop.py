"""A user's script: spawns without an end, and says what was accepted."""

import sys
from itertools import count

import modal

work = modal.Function.from_name("work", "steady")
for number in count():
    token = f"{sys.argv[1]}-{number}"
    print(f"accepted {work.spawn(token, 0.5).object_id} {token}", flush=True)
