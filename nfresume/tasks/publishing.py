"""What a workflow returned: its files go to the output folder, and all of it to standard output as JSON."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nfresume.tasks import s3, task_files, values


class NotUploaded(Exception):
    """A result could not be uploaded. The message says which and why. A relaunch tries it again."""


def upload(results: Iterable[Mapping[str, Any]]) -> None:
    """Upload the outputs of tasks that have a remote path on S3; of several with one path the last one.

    Raises NotUploaded.
    """
    places = {remote: path for result in results for path, remote in values.remote_paths(result["outputs"])
              if remote.startswith("s3://")}
    for remote, path in places.items():
        began = time.monotonic()
        try:
            size = s3.upload(Path(path), remote)
        except OSError as e:
            raise NotUploaded(f"a result cannot be uploaded: {e}") from None
        seconds = time.monotonic() - began
        print(f"nfresume: uploaded {remote}: {size} bytes in {seconds:.1f} s", file=sys.stderr, flush=True)


def publish(value: Any, work: Path, output: Path) -> None:
    """Publish what the workflow returned: files to the output folder, all as JSON to standard output."""
    encoded = values.Writer(work / ".outputs").encode(value)
    remotes = dict(values.remote_paths(encoded))
    new_paths: dict[str, str] = {}
    for path in dict.fromkeys(values.paths_in(encoded)):
        if path.endswith(".pickle") and Path(path).parent == work / ".outputs":
            continue
        source = Path(path)
        if remotes.get(path, "").startswith("s3://"):
            new_paths[path] = remotes[path]  # the head has uploaded it
        elif path in remotes:
            new_paths[path] = str(task_files.publish_target(path, remotes[path], output))
        elif source.exists() and work in source.parents:
            target, number = output / source.name, 2
            while str(target) in new_paths.values():
                target, number = output / f"{number}-{source.name}", number + 1
            new_paths[path] = str(target)
            task_files.publish(source, target)
    text = json.dumps(_plain(values.replace_paths(encoded, new_paths)), indent=2, ensure_ascii=False)
    # a name that is not UTF-8 has characters that cannot be printed
    print(re.sub("[\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}", text))


def _plain(value: Any) -> Any:
    """Encoded JSON without the tags, for people and scripts."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "path" in value:
        return value["path"]
    if value["$"] in ("dict", "OrderedDict", "Counter", "defaultdict"):
        return {str(_plain(k)): _plain(v) for k, v in value["v"]}
    if value["$"] in ("dataclass", "namedtuple"):
        return {k: _plain(v) for k, v in value["v"].items()}
    return f"<{value['$']}>" if "v" not in value else _plain(value["v"])
