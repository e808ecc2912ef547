"""Random workflows: a program from a seed, its result in plain Python, and an edit of it.

All functions of a program are pure. So its result does not depend on what is cached, killed or run at once.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HEAD = '''
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Tuple, Union

from flytekit import dynamic
from latch import create_conditional_section, map_task, small_task, workflow
from latch.types import LatchDir, LatchFile


class Pair(NamedTuple):
    first: int
    second: str


@dataclass
class Box:
    n: int
    texts: List[str]
    file: Optional[LatchFile] = None


def written(text: str) -> LatchFile:
    path = Path(tempfile.mkdtemp()) / "file.txt"
    path.write_text(text)
    return LatchFile(str(path))


def ordered(first, second):
    """Let one value come after another, in a running workflow. In plain Python they are known."""
    from nfresume.tasks import promises

    if promises.running() is not None and isinstance(second, promises.Promise):
        first >> second


@small_task
def shown(values: List[object]) -> str:
    return repr([described(value) for value in values])


def described(value):
    if isinstance(value, LatchFile):
        return "file " + Path(value.local_path).read_text()
    if isinstance(value, LatchDir):
        return sorted((p.name, p.read_text()) for p in Path(value.local_path).iterdir())
    if isinstance(value, Box):
        return ("box", value.n, value.texts, described(value.file))
    if isinstance(value, (list, tuple)):
        return [type(value).__name__, *map(described, value)]
    if isinstance(value, dict):
        return {key: described(item) for key, item in value.items()}
    return (type(value).__name__, repr(value))
'''
#: Result type of a task, its parameters, and an expression of its value with a constant K.
KINDS = {
    "int": ("a: int, b: int", "int", "(a * K + b) % 1000"),
    "str": ("a: int, t: str", "str", "f'{a}{t}K'[-8:]"),
    "float": ("a: int", "float", "(a + K) / 4"),
    "List[int]": ("a: int, b: int", "List[int]", "[a % 7 + i * K for i in range(b % 4)]"),
    "Tuple[int, str]": ("a: int", "Tuple[int, str]", "(a + K, str(a))"),
    "Pair": ("a: int, t: str", "Pair", "Pair(first=a - K, second=t)"),
    "Box": ("a: int, t: str", "Box", "Box(a + K, [t, 'K'], written(t) if a % 2 else None)"),
    "LatchFile": ("a: int, t: str", "LatchFile", "written(f'{a + K}{t}')"),
    "Dict[str, int]": ("a: int, b: int", "Dict[str, int]", "{'a': a, 'K': b}"),
    "Union[int, str]": ("a: int", "Union[int, str]", "a + K if a % 2 else str(a)"),
    "LatchDir": ("a: int", "LatchDir", "LatchDir(str(Path(written(str(a + K)).local_path).parent))"),
}


def program(seed: int) -> str:
    """The text of a workflow file with the workflow `flow(n: int) -> str`."""
    pick = random.Random(seed)
    parts, tasks = [HEAD], []
    for at, kind in enumerate([*KINDS, *pick.choices(list(KINDS), k=4)]):
        parameters, result, value = KINDS[kind]
        options = pick.choice(["", "", "(cache=True)", "(cache=True)", "(cache=True, cache_serialize=True)",
                               "(retries=1)"])
        parts.append(f"\n\n@small_task{options}\ndef task_{at}({parameters}) -> {result}:\n"
                     f"    return {value.replace('K', str(pick.randint(2, 9)))}")
        tasks.append((f"task_{at}", parameters, kind))
    parts.append("\n\n@dynamic\ndef grown(a: int) -> List[int]:\n"
                 "    return [task_0(a=i, b=a) for i in range(a % 3)]")
    parts.append("\n\n@dynamic\ndef looped(a: int) -> int:\n    total = 0\n"
                 f"    for i in task_{list(KINDS).index('List[int]')}(a=a, b=a):\n"
                 "        total = task_0(a=total, b=i)\n    return total")
    parts.append("\n\n@workflow\ndef inner(a: int) -> int:\n    return task_0(a=task_0(a=a, b=1), b=a)")
    parts.append("\n\n@workflow\ndef two(a: int) -> Tuple[int, str]:\n"
                 "    return task_0(a=inner(a=a), b=a), task_1(a=a, t='two')")
    parts.append("\n\n@workflow\ndef silent(a: int) -> None:\n    task_0(a=task_0(a=a, b=7), b=a)\n"
                 "    create_conditional_section('s').if_(task_0(a=a, b=1) > 300).then(task_0(a=a, b=2))"
                 ".else_().then(task_0(a=a, b=3))")
    parts.append("\n\n@workflow\ndef flow(n: int = 3) -> str:\n" + "\n".join(_body(pick, tasks)) + "\n")
    return "".join(parts)


def _body(pick: random.Random, tasks: list[tuple[str, str, str]]) -> list[str]:
    ints, texts, all_names, lines = ["n"], ["'x'"], ["n"], []
    for at in range(pick.randint(8, 16)):
        name, (task, parameters, kind) = f"v{at}", pick.choice(tasks)
        form = pick.choice([*["call"] * 5, "map", "section", "dynamic", "looped", "inner", "list", "two",
                            "silent"])
        given = ", ".join(f"{p[0]}={pick.choice(texts if p.endswith('str') else ints)}"
                          for p in parameters.split(", "))
        if form == "map":
            lists = f"a=[{', '.join(pick.choices(ints, k=3))}], b=[{', '.join(pick.choices(ints, k=3))}]"
            lines.append(f"    {name} = map_task(task_0)({lists})")
        elif form == "section":
            lines.append(f"    {name} = (create_conditional_section('{name}').if_({pick.choice(ints)} > 50)"
                         f".then(task_0(a=n, b={at})).elif_({pick.choice(ints)} == 3)"
                         f".then(task_0(a=1, b=2)).else_().then({pick.choice(ints)}))")
            ints.append(name)
        elif form == "dynamic":
            lines.append(f"    {name} = grown(a={pick.choice(ints)})")
        elif form in ("inner", "looped"):
            lines.append(f"    {name} = {form}(a={pick.choice(ints)})")
            ints.append(name)
        elif form == "two":
            lines.append(f"    {name} = two(a={pick.choice(ints)})")
            ints.append(f"{name}[0]")
            texts.append(f"{name}[1]")
        elif form == "silent":
            lines.append(f"    {name} = silent(a={pick.choice(ints)})")
        elif form == "list":
            lines.append(f"    {name} = [task_0(a=i, b={pick.choice(ints)}) for i in range(3)]")
        else:
            lines.append(f"    {name} = {task}({given})")
            ints += {"int": [name], "Pair": [f"{name}.first"], "Box": [f"{name}.n"],
                     "Tuple[int, str]": [f"{name}[0]"], "Dict[str, int]": [f"{name}['a']"]}.get(kind, [])
            texts += {"str": [name], "Pair": [f"{name}.second"],
                      "Tuple[int, str]": [f"{name}[1]"]}.get(kind, [])
        if at and pick.random() < 0.3:
            lines.append(f"    ordered({pick.choice(all_names[1:])}, {name})")
        all_names.append(name)
    return [*lines, f"    return shown(values=[{', '.join(all_names)}])"]


def edited(text: str, seed: int) -> str:
    """The program with the constant of one task changed that the workflow calls, and a comment added."""
    pick = random.Random(seed)
    body = text.partition("def flow(")[2]
    places = [found for found in re.finditer(r"def (task_\d+)\(.*\n    return [^\d\n]*(\d+)", text)
              if f"{found[1]}(" in body]
    place = pick.choice(places)
    return f"{text[:place.start(2)]}{int(place[2]) + 1}{text[place.end(2):]}\n# edited\n"


def plain(file: Path, n: int) -> str:
    """The result of its workflow in plain Python: without a scheduler, tasks are functions."""
    code = ("import sys, importlib.util\nfrom nfresume.tasks import standins\nstandins.install()\n"
            "spec = importlib.util.spec_from_file_location('program', sys.argv[1])\n"
            "program = importlib.util.module_from_spec(spec)\nsys.modules['program'] = program\n"
            "spec.loader.exec_module(program)\nprint(program.flow(n=int(sys.argv[2])))\n")
    with tempfile.TemporaryDirectory() as folder:  # for the files that the tasks make
        done = subprocess.run([sys.executable, "-c", code, str(file), str(n)], text=True, capture_output=True,
                              env={**os.environ, "TMPDIR": folder})
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
