"""Runs torchrun as `train.py --mode multiple` needs it: an error of several processes is one line, without traceback.

Arguments: those of torchrun.
"""

import logging
import os
import sys

import _init_paths  # noqa: F401
from torch.distributed import run as torchrun
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from lib.utils.cli import LAUNCHED


def main() -> int:
    """Returns 0, the exit status of the first process that failed, or 130 if torchrun was stopped."""
    logging.disable(logging.CRITICAL)  # torchrun reports every process that it ends
    os.environ[LAUNCHED] = "1"
    try:
        torchrun.run(torchrun.parse_args(sys.argv[1:]))
    except SignalException:
        return 130
    except ChildFailedError as error:
        failures = [failure for failure in error.failures.values() if os.path.isfile(failure.error_file)]
        if failures:  # the others failed because of it
            first = min(failures, key=lambda failure: failure.timestamp)
            sys.stderr.write(f"error: {first.message}\n")
        else:
            _, first = error.get_first_failure()
            how = f"signal {-first.exitcode}" if first.exitcode < 0 else f"exit status {first.exitcode}, see above"
            sys.stderr.write(f"error: process {first.local_rank} ended with {how}; continue with --resume\n")
        return first.exitcode if first.exitcode > 0 else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
