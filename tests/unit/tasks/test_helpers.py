"""What a task uses of the workflow's own files, found by name in the source text."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

FILES = {
    "__init__.py": """
from dataclasses import dataclass
from nfresume.tasks import small_task
from .consts import *
from . import util
from .sub import deep
from .forwarding import thing
from .wrapping import plainly, wraps
LIMIT = 10
UNIT = None
def begin():
    global UNIT
    UNIT = "kg"
begin()
CONFIG = {}
CONFIG["a"] = 1
@dataclass
class Sample:
    x: int
    def twice(self): return self.x * RATE
def local(x):
    return util.scale(x) + LIMIT
@small_task
def a(x: int) -> int:
    report = 3
    return local(x)
@small_task
def b(x: int) -> int:
    from .lazy.tools import inner
    return inner(deep.f(Sample(x).twice()) + thing())
@small_task
def c(x: int) -> int:
    return len(UNIT) + [CONFIG["a"] for _ in range(3)][0]
@small_task
def report(x: int) -> int:
    return x
@small_task
@wraps
def d(x: int) -> int:
    return x + BASE
@small_task
@plainly
def e(x: int) -> int:
    return x + BASE
BASE = 7
made = {}
exec("def f(x: int) -> int: return x", made)
f = small_task(made["f"])
""",
    "wrapping.py": """
import functools
STEP = 1
def more(x): return x + STEP
def wraps(f):
    @functools.wraps(f)
    def wrapper(x: int) -> int: return more(f(x))
    return wrapper
def plainly(f):
    def wrapper(x: int) -> int: return f(x) + SHIFT
    return wrapper
SHIFT = 5
""",
    "consts.py": "RATE = 3\nOTHER = 4\n",
    "util.py": "import json\nF = 2\ndef scale(x): return x * F\ndef other(): return 1\n",
    "sub/__init__.py": "", "sub/deep.py": "from ..consts import RATE as R\ndef f(x): return x + R\n",
    "forwarding.py": "from .impl import thing\n", "impl.py": "def thing(): return 5\n",
    "lazy/__init__.py": "raise ImportError\n", "lazy/tools.py": "Q = 1\ndef inner(x): return x + Q\n",
}
ASK = """
import json, sys
from pathlib import Path
from nfresume.tasks import declaring, loading
loading.load(Path(sys.argv[1]))
print(json.dumps({task.short_name: task.helpers for task in declaring.declared_tasks}))
"""


def helpers(package: Path) -> dict[str, dict[str, str]]:
    done = subprocess.run([sys.executable, "-c", ASK, str(package / "__init__.py")], check=True,
                          capture_output=True, text=True)
    found: dict[str, dict[str, str]] = json.loads(done.stdout)
    return found


@pytest.fixture
def package(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / "wf" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "wf" / name).write_text(text)
    return tmp_path / "wf"


@pytest.mark.parametrize(("file", "old", "new", "changed"), [
    ("util.py", "F = 2", "F = 3", "a"), ("util.py", "return x * F", "return x + F", "a"),
    ("util.py", "return 1", "return 2", ""), ("util.py", "return x * F", "return x * F  # why", ""),
    ("__init__.py", "LIMIT = 10", "LIMIT = 11", "a"), ("__init__.py", "return x\n", "return -x\n", ""),
    ("__init__.py", 'CONFIG["a"] = 1', 'CONFIG["a"] = 2', "c"), ("__init__.py", "self.x *", "self.x +", "b"),
    ("consts.py", "RATE = 3", "RATE = 4", "b"), ("consts.py", "OTHER = 4", "OTHER = 5", ""),
    ("impl.py", "5", "6", "b"), ("sub/deep.py", "x + R", "x - R", "b"), ("__init__.py", '"kg"', '"g"', "c"),
    ("wrapping.py", "STEP = 1", "STEP = 2", "d"), ("wrapping.py", "SHIFT = 5", "SHIFT = 6", "wrapper"),
    ("__init__.py", "BASE = 7", "BASE = 8", "dwrapper"),
    ("lazy/tools.py", "Q = 1", "Q = 2", "b"),
])
def test_what_a_change_concerns(package: Path, file: str, old: str, new: str, changed: str):
    """It concerns the tasks that use it, also through other functions and modules, and no others."""
    before = helpers(package)
    text = (package / file).read_text()
    assert old in text
    (package / file).write_text(text.replace(old, new))
    after = helpers(package)
    assert "".join(name for name in before if before[name] != after[name]) == changed


def test_nothing_is_imported(package: Path):
    """A module that only a task imports is read, not run; what is installed does not count."""
    found = helpers(package)
    assert found["b"].keys() >= {"wf.lazy.tools.inner", "wf.lazy.tools.Q", "wf.Sample", "wf.consts.RATE"}
    assert found["a"].keys() == {"wf.local", "wf.LIMIT", "wf.util.scale", "wf.util.F"}
    assert found["report"] == {}


#: What a task may use, by name: the text of a module with a task, and the part of it that changes.
HIDDEN = {
    "condition": ("FAST = True\nif FAST:\n    def h(x): return 1\nelse:\n    def h(x): return 2\n",
                  "h(x)", "FAST = True", "FAST = False"),
    "loop": ("STEPS = {}\nfor i in range(3):\n    STEPS[i] = i\n", "len(STEPS)", "range(3)", "range(4)"),
    "loop_target": ("for LAST in (1, 2):\n    pass\n", "LAST", "(1, 2)", "(1, 3)"),
    "context": ("import contextlib\nwith contextlib.nullcontext(3) as N:\n    pass\n", "N", "(3)", "(4)"),
    "tried": ("try:\n    N = int('x')\nexcept ValueError:\n    N = 1\n", "N", "ValueError", "Exception"),
    "matched": ("MODE = 1\nmatch MODE:\n    case 1:\n        N = 5\n    case _:\n        N = 6\n", "N",
                "case 1", "case 2"),
    "deep_item": ("C = {'a': {}}\nC['a']['b'] = 1\n", "C['a']['b']", "= 1", "= 2"),
    "deep_attribute": ("import types\nC = types.SimpleNamespace(a=[])\nC.a.append(1)\n", "C.a[0]", "(1)",
                       "(2)"),
    "argument": ("C = {}\ndef fill(d): d['a'] = 1\nfill(C)\n", "C['a']", "d['a'] = 1", "d['a'] = 2"),
    "set_attribute": ("class C:\n    pass\nsetattr(C, 'k', 1)\n", "C.k", ", 1)", ", 2)"),
    "removed": ("C = {'a': 1, 'b': 2}\ndel C['a']\n", "len(C)", "del C['a']", "del C['b']"),
    "registered": ("import functools\n@functools.singledispatch\ndef h(x): return 0\n"
                   "@h.register\ndef _(x: int): return 1\n", "h(x)", "return 1", "return 2"),
    "module": ("from . import util as one, impl as two\nchosen = one\n", "chosen.scale(x)", "= one", "= two"),
    "through": ("from . import util as one\nchosen = one\n", "chosen.scale(x)", "x * F", "x + F"),
    "asked": ("from . import lazily\n", "lazily.anything", "return 5", "return 6"),
    "method": ("import dataclasses as d\n@d.dataclass\nclass K:\n    n: int\n    def f(self): return 1\n",
               "k.f()", "return 1", "return 2"),
    "member": ("import enum\nclass K(enum.Enum):\n    A = 1\n    def f(self): return 1\n", "k.f()",
               "return 1", "return 2"),
}


def test_what_is_found_behind_other_statements(package: Path):
    """Conditions, loops, contexts; what a call, an item or a decorator changes; the classes of inputs."""
    (package / "lazily.py").write_text("def __getattr__(name): return 5\n")
    names = []
    for name, (text, result, _, _) in HIDDEN.items():
        kind = "k: K" if "class K" in text else "x: int"
        (package / f"{name}_.py").write_text(
            f"{text}from nfresume.tasks import small_task\n@small_task\ndef {name}({kind}) -> int:\n"
            f"    return {result}\n")
        names.append(f"from .{name}_ import {name}\n")
    with (package / "__init__.py").open("a") as file:
        file.writelines(names)
    before = helpers(package)
    for name, (_, _, old, new) in HIDDEN.items():
        found = next(file for file in (package / f"{name}_.py", package / "lazily.py", package / "util.py")
                     if old in file.read_text())
        found.write_text(found.read_text().replace(old, new))
    after = helpers(package)
    assert [name for name in HIDDEN if before[name] == after[name]] == []
