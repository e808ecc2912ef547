"""The head of a Python workflow. It has the role that the Nextflow process has for a pipeline.

The shim starts it as `python -P -m nfresume.tasks.head ORDER WORDS...`, in the same folders as Nextflow, and
it writes the same records. It calls the workflow's function to get the graph, reuses earlier results, runs
the other calls, and exits with status 0 when all have succeeded.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nfresume_metadata import files

from nfresume.domain.executions import python_workflow
from nfresume.nextflow import options
from nfresume.system import processes
from nfresume.tasks import calling, calls, inputs, loading, promises, publishing, recording
from nfresume.tasks import options as task_options
from nfresume.tasks.calls import Order
from nfresume.tasks.declaring import Workflow
from nfresume.tasks.remote import Remote, unreachable
from nfresume.tasks.scheduling import Head, NoResult, Stopped


def run(order: Order) -> int:
    """Run a workflow to its end. Returns the exit status."""
    parsed = options.stored(order.pipeline, order.words)
    launch_dir = Path.cwd()
    call = calls.of_options(parsed, launch_dir)
    began = time.monotonic()
    files.use(Remote(Path(order.work), decides=True))
    cache = Path(order.cache)
    recording.history(cache, order.run_name, order.session_id, "-", order.pipeline)
    head = Head(order, call)
    status, code = "ERR", 1
    try:
        found = python_workflow(order.pipeline)
        assert found is not None
        with _printing_to_stderr():
            flow = loading.workflow(loading.load((launch_dir / found[0]).resolve()), found[1])
            given = inputs.of_workflow(flow.function, call.inputs, launch_dir, flow.hints)
            defaults = {name: value for name, value in given.items() if name not in call.inputs}
            for text in unreachable(defaults, flow.hints):
                head.say(f"the default of {text}. A task that opens it fails")
            returned = _call(head, flow, given)
            head.finish()
            head.handle_failures()
        if not head.failed:
            value = promises.resolve(returned, lambda node: node.value())
            publishing.upload(head.results())
            publishing.publish_again(head.results(ran=False), head.results(ran=True), call.output)
            publishing.publish(value, head.results(), Path(order.work), call.output)
            status, code = "OK", 0
    except Stopped:
        head.log.failed("stopped by a signal")
        code = 143
    except publishing.NotPublished as e:
        head.log.failed(str(e))
        print(f"nfresume: {e}", file=sys.stderr, flush=True)
    except Exception as e:  # raised by the workflow's own code: the user needs the traceback
        calling.print_traceback(e)
        head.log.failed(f"{order.pipeline}: {type(e).__name__}: {e}")
    finally:
        promises.schedule(None)
        head.close()
        recording.history(cache, order.run_name, order.session_id, status, order.pipeline,
                          time.monotonic() - began)
    return code


@contextlib.contextmanager
def _printing_to_stderr() -> Iterator[None]:
    """What the file and the workflow print is for people. Standard output has the result only."""
    processes.flush_streams()
    stdout = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        processes.flush_streams()
        os.dup2(stdout, 1)
        os.close(stdout)


def _call(head: Head, flow: Workflow, given: Mapping[str, Any]) -> Any:
    promises.schedule(head)
    if text := task_options.unused():
        head.say(text)
    try:
        return flow(**given)
    except NoResult:
        head.leave_sections()
        return None  # the function cannot continue; the calls that it has made so far still run


def main() -> None:
    """Run the workflow of the order in argv."""
    order = Order(**json.loads(sys.argv[1]), words=sys.argv[2:])
    code = run(order)
    processes.flush_streams()
    sys.exit(code)


if __name__ == "__main__":
    main()
