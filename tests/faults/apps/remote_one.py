"""A user's script: one call, waited for."""

import sys

import modal

name, token, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
print("answered", modal.Function.from_name("work", name).remote(token, seconds), flush=True)
