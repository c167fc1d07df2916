"""The seam that makes modal's calls in containers wait for an engine. In a process of its own: it changes the package for good."""

import subprocess
import sys

SCRIPT = """
from freehold.container import patience

patience.install()

from modal._grpc_client import _DEFAULT_RETRY
from modal._utils.grpc_utils import Retry

print(_DEFAULT_RETRY.max_retries, Retry(attempt_timeout=5).max_retries, Retry(max_retries=None).max_retries, Retry(max_retries=1).max_retries)
print(_DEFAULT_RETRY.max_delay, Retry().base_delay, Retry().additional_status_codes, Retry(total_timeout=5).total_timeout)
"""


def test_what_names_no_number_of_tries_has_many():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines() == ["600 600 None 1", "0.25 0.1 [] 5"]
