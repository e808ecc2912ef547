"""The process of a task in its container: `python -m nfresume.tasks.contained DIR`. DIR is the task dir."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from nfresume.system import processes, trees
from nfresume.tasks import calling, worker


def main() -> None:
    """Call the task of the order in the task dir that argv names, and give its files to the host's user."""
    if os.getpid() == 1:  # for which the kernel ignores signals without a handler
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda received, _: sys.exit(128 + received))
    task_dir = Path(sys.argv[1])
    order = worker.read_order(task_dir)
    wish = worker.wish_of(task_dir, order)
    code = calling.call(task_dir, wish, order.inputs, worker.loader(order), isolate=False, alone=True)
    user, _, group = os.environ.get("NFRESUME_OWNER", "").partition(":")
    if user and os.geteuid() == 0 and int(user) != 0:
        for parent, folders, files in trees.walk(task_dir):
            for name in (*folders, *files):
                os.chown(os.path.join(parent, name), int(user), int(group), follow_symlinks=False)
    processes.flush_streams()
    os._exit(code)  # whatever threads the task has left


if __name__ == "__main__":
    main()
