"""Runs torchrun as `train.py --mode multiple` needs it: an error of several processes is one line, without traceback.

Arguments: those of torchrun.
"""

import logging
import os
import signal
import sys
import tempfile
from pathlib import Path

import _init_paths  # noqa: F401
from torch.distributed import run as torchrun
from torch.distributed.elastic.multiprocessing import api
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from lib.utils.cli import LAUNCHED, PREEMPTED, WARNINGS


def main() -> int:
    """Returns 0, the exit status of the first process that failed, or 75 after a stop."""
    logging.disable(logging.CRITICAL)  # torchrun reports every process that it ends
    for number in WARNINGS:  # the command that started this one passes them on as SIGTERM
        signal.signal(number, signal.SIG_IGN)
    api._terminate_process_handler = stop_once
    with tempfile.TemporaryDirectory() as folder:
        stopped = Path(folder) / "stopped"
        os.environ[LAUNCHED] = str(stopped)
        try:
            torchrun.run(torchrun.parse_args(sys.argv[1:]))
        except SignalException:
            text = stopped.read_text(encoding="utf-8") if stopped.is_file() else "interrupted: --resume continues"
            sys.stderr.write(f"\n{text}\n")
            return PREEMPTED  # the command that started this one returns 130 after Ctrl-C
        except ChildFailedError as error:
            if stopped.is_file():  # the processes were stopped, not torchrun
                sys.stderr.write(f"\n{stopped.read_text(encoding='utf-8')}\n")
                return PREEMPTED
            return report(error)
    return 0


def stop_once(number: int, frame: object) -> None:
    """Takes the place of torchrun's handler: a second SIGTERM does not end its wait for the processes.

    A scheduler that signals all processes of a job signals this one and the command, which passes its signal on.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SignalException(f"signal {number}", signal.Signals(number))


def report(error: ChildFailedError) -> int:
    """Prints the failure on which the others depend; returns its exit status."""
    failures = [failure for failure in error.failures.values() if os.path.isfile(failure.error_file)]
    if failures:
        first = min(failures, key=lambda failure: failure.timestamp)
        sys.stderr.write(f"error: {first.message}\n")
    else:
        _, first = error.get_first_failure()
        how = f"signal {-first.exitcode}" if first.exitcode < 0 else f"exit status {first.exitcode}, see above"
        sys.stderr.write(f"error: process {first.local_rank} ended with {how}; continue with --resume\n")
    return first.exitcode if first.exitcode > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
