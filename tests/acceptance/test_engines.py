"""Plugins on the embedded engine, and other versions of Nextflow through its own launcher."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from nfresume.nextflow import embedded
from tests.acceptance.test_stand_in import neutral
from tests.conftest import BIN, Site, until

pytestmark = pytest.mark.slow

PLUGIN = """\
package tiny
import nextflow.Session
import nextflow.plugin.BasePlugin
import nextflow.plugin.extension.Function
import nextflow.plugin.extension.PluginExtensionPoint
import org.pf4j.PluginWrapper

class TinyPlugin extends BasePlugin {
    TinyPlugin(PluginWrapper wrapper) { super(wrapper) }
}

class TinyExtension extends PluginExtensionPoint {
    void init(Session session) {}
    @Function String greet(String name) { "hello $name from a plugin" }
}
"""


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for NXF_PLUGINS_DIR with a plugin of one function, compiled by the Groovy of the engine."""
    place = tmp_path_factory.mktemp("plugins")
    classes = place / "nf-tiny-1.0.0/classes"
    (classes / "META-INF").mkdir(parents=True)
    source = place / "Tiny.groovy"
    source.write_text(PLUGIN)
    java = embedded.java(None)
    launcher = embedded.launcher(java, embedded.install(java), {})
    subprocess.run([*launcher[:-1], "org.codehaus.groovy.tools.FileSystemCompiler", "-d", str(classes),
                    str(source)], check=True, timeout=120)
    source.unlink()
    (classes / "META-INF/extensions.idx").write_text("tiny.TinyExtension\n")
    (classes / "META-INF/MANIFEST.MF").write_text(
        "Manifest-Version: 1.0\nPlugin-Id: nf-tiny\nPlugin-Version: 1.0.0\nPlugin-Class: tiny.TinyPlugin\n"
        "Plugin-Provider: test\nPlugin-Requires: >=24.04.0\n")
    return place


@pytest.mark.parametrize("by", ["NXF_PLUGINS_DIR", "NXF_HOME", "HOME"])
def test_a_plugin_runs(site: Site, plugins: Path, by: str):
    """A pipeline with a plugin runs on the embedded engine, where Nextflow's own launcher would find it."""
    (site.launch_dir / "main.nf").write_text(
        "include { greet } from 'plugin/nf-tiny'\nworkflow { println greet('you') }")
    (site.launch_dir / "nextflow.config").write_text("plugins { id 'nf-tiny@1.0.0' }")
    place = {"NXF_PLUGINS_DIR": site.base / "p", "NXF_HOME": site.base / "n/plugins",
             "HOME": site.base / "h/.nextflow/plugins"}[by]
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(plugins)
    value = {"NXF_PLUGINS_DIR": place, "NXF_HOME": place.parent, "HOME": place.parent.parent}[by]
    cache = os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))
    env = {"NXF_OFFLINE": "true", "XDG_CACHE_HOME": cache, by: str(value)}
    assert "hello you from a plugin" in site.ok("launch", "main.nf", **env).out


def test_a_missing_plugin_is_named(site: Site):
    """Without a network a plugin that is missing is named in one line, with what helps."""
    (site.launch_dir / "main.nf").write_text("workflow { println 1 }")
    done = site.run("launch", "main.nf", "-plugins", "nf-nowhere@1.0.0", NXF_HOME=str(site.base / "n"),
                    https_proxy="http://127.0.0.1:9", HTTPS_PROXY="http://127.0.0.1:9")
    error = site.show()["attempts"][0]["error"]
    assert done.code == 1
    assert "nf-nowhere" in error.partition("(")[0]
    assert "put it there" in error
    assert "nfresume relaunch" not in done.err


@pytest.fixture(scope="module")
def with_launcher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with PyPI's `nextflow`, as `pip install 'nfresume[nextflow]'` makes it."""
    place = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
    here = next(p for p in sys.path if p.endswith("site-packages"))
    (next(place.glob("lib/python*/site-packages")) / "ours.pth").write_text(
        f"{here}\nimport site; site.addsitedir({here!r})\n")
    python = place / "bin/python"
    done = subprocess.run([sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps",
                           "nextflow"], capture_output=True, text=True, timeout=240, check=False)
    if done.returncode:
        pytest.skip(f"PyPI cannot be reached: {done.stderr.strip()[-200:]}")
    return python


def stand_in(home: Path, version: str) -> None:
    """A jar of Nextflow as its launcher downloads it: the embedded jars, under another version's name."""
    place = home / "framework" / version
    place.mkdir(parents=True)
    jars = " ".join(f"file:{embedded.folder() / name}" for name in embedded.locked())
    lines = f"Manifest-Version: 1.0\nMain-Class: nextflow.cli.Launcher\nClass-Path: {jars}"
    wrapped = "\r\n".join(f"{line[:70]}" + "".join(
        f"\r\n {line[at:at + 69]}" for at in range(70, len(line), 69)) for line in lines.splitlines())
    with zipfile.ZipFile(place / f"nextflow-{version}-one.jar", "w") as jar:
        jar.writestr("META-INF/MANIFEST.MF", wrapped + "\r\n\r\n")
        jar.writestr("META-INF/build-info.properties",
                     f"version={version}\nbuild=1\ntimestamp=1700000000000\ncommitId=abc\n")


def run(site: Site, python: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(python), "-m", "nfresume", *words], cwd=site.launch_dir, text=True,
                          env={**site.env, **env}, capture_output=True, stdin=subprocess.DEVNULL, timeout=200,
                          check=False)


def test_a_version_that_is_asked_for(site: Site, with_launcher: Path):
    """NXF_VER and `nextflow_version` choose a version, which runs with our Java; one launch after another."""
    home = site.base / "home"
    stand_in(home, "25.10.7")
    env = {"NXF_HOME": str(home), "XDG_CACHE_HOME": str(site.base / "cache")}
    (site.base / "cache/nfresume").mkdir(parents=True)
    (site.base / "cache/nfresume/engine").symlink_to(embedded.folder().parent)
    (site.launch_dir / "main.nf").write_text("workflow { println nextflow.version; System.exit(3) }")
    for name in ("NXF_VER", "NFRESUME_NEXTFLOW_VERSION"):
        done = run(site, with_launcher, "engine", "info", **env, **{name: "25.10.7"})
        assert "Nextflow 25.10.7\n  from   Nextflow's launcher from PyPI" in done.stdout, done.stderr
        assert f"why    {name} asks for 25.10.7" in done.stdout
    done = run(site, with_launcher, "launch", "main.nf", **env, NXF_VER="25.10.7")
    assert (done.returncode, "25.10.7" in done.stdout) == (3, True), done.stderr
    assert site.show()["attempts"][0]["nextflow_version"] == "25.10.7"


def test_a_version_that_cannot_be_had(site: Site, with_launcher: Path):
    """A version that cannot be downloaded is refused when asked for; otherwise the embedded one runs."""
    env = {"NXF_HOME": str(site.base / "home"), "XDG_CACHE_HOME": str(site.base / "cache"),
           "NXF_BASE": "http://127.0.0.1:9"}
    (site.base / "cache/nfresume").mkdir(parents=True)
    (site.base / "cache/nfresume/engine").symlink_to(embedded.folder().parent)
    asked = run(site, with_launcher, "engine", "info", **env, NXF_VER="26.04.6")
    assert (asked.returncode, "Nextflow (26.04.6) cannot be downloaded" in asked.stderr) == (69, True)
    default = run(site, with_launcher, "engine", "info", **env)
    assert f"Nextflow {embedded.VERSION}\n  from   embedded engine" in default.stdout, default.stderr
    assert "why    Nextflow's launcher from PyPI cannot be used" in default.stdout


def test_nxf_ver_is_never_passed_over(site: Site, plain_nextflow: Path):
    """A version that neither the embedded engine nor a launcher has is refused in one clear line."""
    (site.launch_dir / "main.nf").write_text("workflow { println 1 }")
    done = site.run("launch", "main.nf", NXF_VER="26.04.6")
    assert done.code == 69
    assert "NXF_VER asks for Nextflow 26.04.6, and the embedded engine is 24.10.5" in done.err
    own = site.run("launch", "--nextflow", str(plain_nextflow), "main.nf", NXF_VER="26.04.6")
    assert (own.code, "runs 24.10.5" in own.err) == (69, True)
    site.ok("launch", "main.nf", NXF_VER="24.10.5")


@pytest.mark.long
def test_another_version_is_a_note(site: Site, plain_nextflow: Path, tmp_path: Path):
    """A relaunch on another version of Nextflow reuses what is finished, and says which one ran before."""
    other = tmp_path / "nextflow"
    other.write_text(plain_nextflow.read_text().replace("exec ", '[ "$1" != -version ] || '
                     "{ echo 'version 25.10.7 build 1'; exit; }\nexec "))
    other.chmod(0o755)
    pipeline = site.pipeline("fail-late")
    assert site.run("launch", str(pipeline), "--storage-expiration-hours", "1").code == 1
    done = site.run("relaunch", "--nextflow", str(other), site.show()["id"])
    assert "the last attempt ran on Nextflow 24.10.5, this one runs on 25.10.7" in done.err
    assert "7 tasks reused" in done.err


AS_LAUNCHED = """\
process A { debug true; script: 'echo "task ${JAVA_TOOL_OPTIONS-none}"; sleep ${SECONDS_TO_SLEEP-0}' }
workflow {
    println "head ${System.getenv('JAVA_TOOL_OPTIONS')} ${System.getProperty('some')}"
    println(['java.io.tmpdir', 'java.awt.headless', 'file.encoding'].collect { System.getProperty(it) })
    A()
}
"""


@dataclass
class Programs:
    """`nextflow run` by Nextflow's own launcher on the embedded jars, and `nfresume launch`."""

    site: Site
    words: dict[str, list[str]]

    def start(self, who: str, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run one of them in a folder of its own; its output goes to the files `out` and `err`."""
        place = self.site.base / who
        place.mkdir(exist_ok=True)
        (place / "main.nf").write_text(AS_LAUNCHED)
        with (place / "out").open("w") as out, (place / "err").open("w") as err:
            return subprocess.run([*self.words[who], "main.nf", *words], cwd=place, stdout=out, stderr=err,
                                  env={**self.site.env, **env}, stdin=subprocess.DEVNULL, timeout=120,
                                  check=False)

    def said(self, who: str) -> str:
        return neutral((self.site.base / who / "out").read_text(), self.site.base / who)

    def process(self, who: str) -> psutil.Process:
        """The process that goes on in the background."""
        return psutil.Process(int((self.site.base / who / ".nextflow.pid").read_text()))


@pytest.fixture
def programs(site: Site, with_launcher: Path) -> Programs:
    stand_in(site.base / "home", embedded.VERSION)
    site.env |= {"NXF_HOME": str(site.base / "home"), "NXF_VER": embedded.VERSION, "NXF_OFFLINE": "true",
                 "NXF_DISABLE_CHECK_LATEST": "true", "JAVA_CMD": str(embedded.java(None))}
    return Programs(site, {"plain": [str(with_launcher.parent / "nextflow"), "run"],
                           "ours": [str(BIN / "nfresume"), "launch"]})


@pytest.mark.long
@pytest.mark.parametrize("env", [
    {"TMPDIR": "BASE/temporary"},
    {"TMPDIR": "/nowhere", "NXF_TEMP": "BASE/temporary", "NXF_OPTS": "-Dsome=thing"},
    {"JAVA_TOOL_OPTIONS": "-Dsome=tool"},
], ids=lambda env: " ".join(env))
def test_java_is_started_as_by_nextflows_launcher(programs: Programs, env: dict[str, str]):
    """nf-core/sarek#1793, nextflow#1716: the embedded engine has the temporary folder, the options and the
    variables that it has with Nextflow's own launcher, and so have its tasks."""
    (programs.site.base / "temporary").mkdir()
    env = {name: value.replace("BASE", str(programs.site.base)) for name, value in env.items()}
    assert programs.start("plain", "-ansi-log", "false", **env).returncode == 0
    assert programs.start("ours", **env).returncode == 0
    assert programs.said("ours") == programs.said("plain")


@pytest.mark.long
def test_in_the_background(programs: Programs):
    """wf-single-cell#184: with -bg both return at once; the output follows, and the process id is told."""
    for who in programs.words:
        assert programs.start(who, "-bg", SECONDS_TO_SLEEP="3").returncode == 0
        process = programs.process(who)
        until(lambda process=process: not _goes_on(process), 60, "the end")
    assert "task none" in programs.said("plain")
    assert programs.said("ours") == programs.said("plain")


@pytest.mark.long
def test_a_run_in_the_background_is_ended(programs: Programs):
    """`kill $(cat .nextflow.pid)` ends a run in the background, and its tasks."""
    for who in programs.words:
        programs.start(who, "-bg", SECONDS_TO_SLEEP="100")
        process = programs.process(who)
        until(lambda who=who: "Submitted" in programs.said(who), 60, "a task")
        process.terminate()
        until(lambda process=process: not _goes_on(process), 60, "the end")
    assert programs.site.show()["state"] == "CANCELLED"
    assert not programs.site.runs("sleep")


def _goes_on(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
