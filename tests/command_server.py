"""Runs commands of tracking/ in forks of one process that has already imported torch, because imports take seconds.

Each line on stdin is a command, `{"argv": [script, ...], "cwd": ..., "env": {...}, "stdout": path, "stderr": path}`.
Answers with the id of its process, and when that has ended with its exit status. See tests/processes.py.
"""

import gc
import json
import os
import runpy
import sys

import cv2  # noqa: F401
import lmdb  # noqa: F401
import matplotlib.pyplot  # noqa: F401
import timm  # noqa: F401
import torch  # noqa: F401
import torchvision  # noqa: F401


def become(argv: list[str], cwd: str, env: dict[str, str], stdout: str, stderr: str) -> None:
    """Gives this process a new session and the given environment, like a new process."""
    os.setsid()
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    for number, path in enumerate((os.devnull, stdout, stderr)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT if number else os.O_RDONLY), number)
    sys.argv = argv
    sys.path[0] = os.path.dirname(argv[0])


def main() -> None:
    gc.freeze()  # so that garbage collection in the children does not copy the imported modules
    requests, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    for line in requests:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            requests.close()
            answers.close()
            become(**request)
            runpy.run_path(request["argv"][0], run_name="__main__")
            return
        answers.write(f"{pid}\n")
        answers.flush()
        answers.write(f"{os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}\n")
        answers.flush()


if __name__ == "__main__":
    main()
