"""A user's script: one map, its results one by one."""

import sys

import modal

prefix, size, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
tokens = [f"{prefix}-{number}" for number in range(size)]
print("mapping", flush=True)
for answer in modal.Function.from_name("work", "steady").map(tokens, kwargs={"seconds": seconds}):
    print(f"answered {answer}", flush=True)
print("complete", flush=True)
