# result: ["Hello 0", "Hello 1", "['a.txt', 'sub/b.txt']", "new", "a,b", "plain", "plain", "renamed"]
"""FlyteFile and FlyteDirectory in all their forms, and texts where one is declared.

flyte#6005, flyte#1818, flyte#5988, flyte#6393.
"""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import List, Optional, Union

from flytekit import Cache, FlyteDirectory, FlyteFile, current_context, map_task, task, workflow
from flytekit.types.file import FlyteFile as Again


@dataclass
class Inner:
    file: Union[None, FlyteFile]


@dataclass
class Outer:
    inner: Inner
    files: List[FlyteFile]


@task
def made() -> FlyteDirectory:
    top = Path(tempfile.mkdtemp())
    for n in range(2):
        (top / f"{n}.txt").write_text(f"Hello {n}")
    return FlyteDirectory(top)


@task
def listed(folder: FlyteDirectory) -> List[FlyteFile]:
    return FlyteDirectory.listdir(folder)


@task
def read(file: FlyteFile) -> str:
    with open(file) as opened:
        return opened.read()


@task
def filled() -> FlyteDirectory:
    out = FlyteDirectory.new_remote()
    out.new_file("a.txt").open("w").close()
    out.new_dir("sub").new_file("b.txt").open("w").close()
    return out


@task
def crawled(folder: FlyteDirectory) -> str:
    return str([each for _, each in folder.crawl()])


@task
def new() -> Again:
    file = FlyteFile.new_remote_file("x.txt")
    with file.open("w") as opened:
        opened.write("new")
    return file


@task
def typed() -> FlyteFile["csv"]:
    path = os.path.join(current_context().working_directory, "t.csv")
    Path(path).write_text("a,b")
    return FlyteFile["csv"](path=path)


@task
def text() -> Optional[FlyteFile]:
    Path("plain.txt").write_text("plain")
    return "plain.txt"


@task
def nested() -> Outer:
    Path("inner.txt").write_text("plain")
    return Outer(Inner("inner.txt"), [Path("inner.txt")])


@task(cache=Cache(version="1"))
def cached() -> FlyteFile:
    Path("c.txt").write_text("renamed")
    return FlyteFile("c.txt")


@task
def renames(file: FlyteFile) -> str:
    path = file.download()
    os.rename(path, path + ".new")
    return Path(path + ".new").read_text()


@workflow
def flow() -> List[str]:
    files = listed(folder=made())
    texts = map_task(read)(file=files)
    outer = nested()
    return [texts[0], texts[1], crawled(folder=filled()), read(file=new()), read(file=typed()),
            read(file=text()), read(file=outer.inner.file), renames(file=cached())]
