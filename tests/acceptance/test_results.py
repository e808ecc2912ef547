"""Results survive what happens around them: other runs and sweeps, the user, the pipeline's own links."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Site, privileged

pytestmark = pytest.mark.slow

#: Publishes a folder of `n` files and a file; fails afterwards if asked to.
FOLDER = """
params.n = 100; params.name = 'big'; params.fail = false; params.out = 'results'
process BIG { publishDir params.out
  input: val name
  output: path "$name"
  script: "mkdir $name; cd $name; seq -f '%06g' ${params.n} | xargs touch; echo content > 000001" }
process FILE { publishDir params.out
  input: path folder
  output: path "${folder}.txt"
  script: "echo $folder > ${folder}.txt" }
process LAST { input: path file
  script: params.fail ? "exit 1" : "true" }
workflow { BIG(params.name) | FILE | LAST }
"""


def launch(site: Site, script: str, *words: str, code: int = 0) -> dict[str, Any]:
    (site.launch_dir / "main.nf").write_text(script)
    done = site.run("launch", "main.nf", *words)
    assert done.code == code, done.err
    return {**site.show(), "said": done.err}


def expire(site: Site) -> None:
    """Let the time of what is kept run out."""
    with contextlib.closing(sqlite3.connect(site.base / "state.db")) as db, db:
        db.execute("UPDATE work_dirs SET expires_at = '2020-01-01 00:00:00.000000' WHERE state = 'RETAINED'")


def kept(site: Site, *words: str) -> dict[str, Any]:
    """A run that published, failed afterwards, and is kept for 48 hours."""
    (site.launch_dir / "main.nf").write_text(FOLDER)
    done = site.run("launch", "--storage-expiration-hours", "48", "main.nf", "--fail", *words)
    assert done.code == 1, done.err
    e = site.show()
    assert (e["state"], e["work_dir"]["state"]) == ("FAILED", "RETAINED")
    return e


def events(e: dict[str, Any]) -> list[str]:
    return [v["name"] for v in e["events"]]


def links(folder: Path) -> list[Path]:
    return [p for p in folder.rglob("*") if p.is_symlink()]


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A folder on another file system than the root."""
    folder = Path("/dev/shm") / f"nfresume-{os.getpid()}-results"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.long
def test_many_runs_in_one_results_folder(site: Site):
    """With default settings: a folder of 30,000 files is complete although other runs end beside it."""
    (site.launch_dir / "main.nf").write_text(FOLDER)
    big = site.start("launch", "main.nf", "--n", "30000", "--name", "thebig")
    over = threading.Event()
    codes = []

    def small(number: int) -> None:
        turn = 0
        while not over.is_set():
            turn += 1
            codes.append(site.run("launch", "main.nf", "--n", "3", "--name", f"small{number}x{turn}").code)

    threads = [threading.Thread(target=small, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    _, err = big.communicate(timeout=200)
    over.set()
    for thread in threads:
        thread.join()
    assert big.returncode == 0, err
    assert set(codes) == {0}
    results = site.launch_dir / "results"
    assert len(os.listdir(results / "thebig")) == 30_000
    assert (results / "thebig/000001").read_text() == "content\n"
    assert links(results) == []
    assert [name for name in os.listdir(results) if name.startswith(".")] == []
    assert all(e["work_dir"]["state"] == "DELETED" for e in site.ok("list", "--json").json())


def test_two_sweeps_at_once(site: Site):
    """Two sweeps at once and an expired run with a published folder: all of it is there afterwards."""
    kept(site, "--n", "8000")
    expire(site)
    for sweep in [site.start("sweep"), site.start("sweep")]:
        out, err = sweep.communicate(timeout=120)
        assert sweep.returncode == 0, (out, err)
    assert site.show()["work_dir"]["state"] == "DELETED"
    assert len(os.listdir(site.launch_dir / "results/big")) == 8000
    assert links(site.launch_dir / "results") == []


@pytest.mark.parametrize("how", ["expiry", "delete"])
def test_results_that_the_user_moved(site: Site, how: str):
    """`mv results archive` while the run is kept: what was published is real already (predector#84)."""
    e = kept(site)
    assert links(site.launch_dir / "results") == []
    (site.launch_dir / "results").rename(site.launch_dir / "archive")
    if how == "expiry":
        expire(site)
        site.ok("sweep")
    else:
        site.ok("delete", e["id"], "--yes")
    assert site.show()["work_dir"]["state"] == "DELETED"
    assert len(os.listdir(site.launch_dir / "archive/big")) == 100
    assert (site.launch_dir / "archive/big.txt").read_text() == "big\n"


def test_moved_on_another_file_system(site: Site, elsewhere: Path):
    """Across file systems results are copied before a deletion: also from a renamed folder; a folder that
    cannot be found holds the work dir."""
    if os.stat("/dev/shm").st_dev == site.base.stat().st_dev:
        pytest.skip("/dev/shm is on the file system of the root")
    e = kept(site, "--out", str(elsewhere / "results"))
    assert (elsewhere / "results/big").is_symlink()
    (elsewhere / "deep/er").mkdir(parents=True)
    (elsewhere / "results").rename(elsewhere / "deep/er/results")
    refused = site.run("delete", e["id"], "--yes")
    assert refused.code == 75
    assert "is not there (moved, removed, not mounted, or of another host)" in refused.err
    e = site.show()
    assert (e["work_dir"]["state"], e["work_dir"]["expires_at"] is not None) == ("RETAINED", True)
    assert "not mounted" in e["work_dir"]["reason"]
    (elsewhere / "deep/er/results").rename(elsewhere / "archive")
    site.ok("delete", e["id"], "--yes")
    assert site.show()["work_dir"]["state"] == "DELETED"
    assert len(os.listdir(elsewhere / "archive/big")) == 100
    assert links(elsewhere) == []


def test_a_result_that_the_user_removed(site: Site, elsewhere: Path):
    """A clean absence in the folder of the publication is the user's wish: the rest is copied."""
    e = kept(site, "--out", str(elsewhere / "results"))
    (elsewhere / "results/big").unlink()
    site.ok("delete", e["id"], "--yes")
    assert site.show()["work_dir"]["state"] == "DELETED"
    assert os.listdir(elsewhere / "results") == ["big.txt"]
    assert (elsewhere / "results/big.txt").read_text() == "big\n"


@pytest.mark.skipif(not privileged(), reason="needs root, to mount")
def test_a_mount_that_is_away(site: Site, elsewhere: Path):
    """A results folder that is not mounted holds the expired work dir; when it is back, the sweep goes on."""
    mount = elsewhere / "mount"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "nfresume-test", str(mount)], check=True)
    try:
        kept(site, "--out", str(mount / "results"))
        expire(site)
        subprocess.run(["mount", "--bind", str(elsewhere), str(mount)], check=True)  # hides it
        assert "kept:" in site.run("sweep").out
        e = site.show()
        assert (e["work_dir"]["state"], e["work_dir"]["expires_at"]) == ("RETAINED", None)
        subprocess.run(["umount", str(mount)], check=True)
        assert "keep" in site.ok("sweep").out  # not yet: it waits a minute
        assert site.run("delete", e["id"], "--yes").code == 0
        assert len(os.listdir(mount / "results/big")) == 100
        assert links(mount) == []
    finally:
        while subprocess.run(["umount", str(mount)], capture_output=True).returncode == 0:
            pass


def test_a_cancelled_relaunch_that_waits(site: Site):
    """Hours 0, pinned, failed, unpinned, relaunched, cancelled while it waits: its results are real."""
    (site.launch_dir / "main.nf").write_text(FOLDER)
    site.run("launch", "--pin", "main.nf", "--fail")
    e = site.show()
    site.ok("unpin", e["id"])
    code = ("from nfresume import settings; from nfresume.service.verbs import Service; "
            "from nfresume.runs.relaunching import RelaunchRequest\n"
            "class Never:\n"
            "    name = 'local'\n"
            "    def start(self, *given): pass\n"
            "s = Service(settings.load(), launcher=Never()); e = s.find('main')\n"
            "s.relaunch(e, RelaunchRequest(words=())); print(s.cancel(s.get(e.id)).work_dir.state)")
    done = subprocess.run([sys.executable, "-c", code], cwd=site.launch_dir, env=site.env, text=True,
                          capture_output=True)
    assert done.stdout.strip() == "DELETED", done.stderr
    assert len(os.listdir(site.launch_dir / "results/big")) == 100
    assert links(site.launch_dir / "results") == []


#: Links that no log tells of, a folder with links in it, and a sheet that names files of the work dir.
OWN_LINKS = """
process A { storeDir "$launchDir/store"
  output: path 's.txt'
  script: "echo stored > real.txt; ln -s \\$PWD/real.txt s.txt" }
process D { storeDir "$launchDir/store"
  output: path 'd'
  script: \"\"\"mkdir d; echo deep | tee d/r.txt > deep.txt
  ln -s \\$PWD/deep.txt d/absolute; ln -s r.txt d/relative\"\"\" }
process L { publishDir "$launchDir/results", mode: 'copy'
  input: path f
  output: path 'l.txt'; path 'with'
  script: \"\"\"cat $f > l.txt; ln -s \\$PWD/l.txt $launchDir/by_task.txt
  mkdir with; echo inside > with/r.txt; ln -s \\$PWD/with/r.txt with/absolute\"\"\" }
workflow {
  D(); A() | L
  L.out[0].subscribe { it.mklink("$launchDir/by_script.txt") }
  L.out[0].collectFile(name: 'sheet.csv', storeDir: "$launchDir/sheets") { f -> "$f\\n" }
}
workflow.onComplete {
  file("$launchDir/run.log").text = "Work dir:\\n  $workDir/ab/cd\\nsee $workDir/ab/cd/.command.log"
  file("$launchDir/output").text = " N E X T F L O W   ~  version 25.10.0\\nERROR ~ see $workDir/ab/cd/a.txt"
}
"""


def test_links_that_the_pipeline_made_itself(site: Site):
    """mklink, `ln -s` in a task, links in a storeDir and inside a published folder lead to the data
    (nextflow#1325); a sheet that names their files is told of; a log, and output of Nextflow, is not."""
    (site.launch_dir / "kept").symlink_to("/etc/hostname")
    e = launch(site, OWN_LINKS)
    assert e["work_dir"]["state"] == "DELETED"
    here = site.launch_dir
    for name, text in (("by_script.txt", "stored"), ("by_task.txt", "stored"), ("store/s.txt", "stored"),
                       ("store/d/absolute", "deep"), ("store/d/relative", "deep"),
                       ("results/l.txt", "stored"), ("results/with/absolute", "inside")):
        assert (here / name).read_text() == f"{text}\n", name
    assert os.readlink(here / "kept") == "/etc/hostname"
    told = next(v["detail"] for v in e["events"] if v["name"] == "results_secured")
    assert told["files_that_name_the_work_dir"] == 1
    assert told["such_as"] == [str(here / "sheets/sheet.csv")]
    assert "sheets/sheet.csv" in e["said"]


#: Links in a hidden folder, and behind a link to a folder elsewhere; outputs that are stored in the work dir.
FAR_LINKS = """
process A { output: path 'a.txt'
  script: \"\"\"echo data > a.txt; W=\\$PWD; mkdir -p $launchDir/.hidden
  ln -s \\$W/a.txt $launchDir/.hidden/l; ln -s \\$W/a.txt $launchDir/far/l
  ln -s \\$W $launchDir/whole\"\"\" }
workflow { A() }
"""
STORED = """
process A { storeDir "$workDir/store"
  output: path 'a.txt'
  script: "echo data > a.txt" }
workflow { A() }
"""


def test_links_that_are_hard_to_find(site: Site, tmp_path: Path):
    """In hidden folders and behind links to folders; a link to a whole task dir is told of."""
    (tmp_path / "elsewhere").mkdir()
    (site.launch_dir / "far").symlink_to(tmp_path / "elsewhere")
    e = launch(site, FAR_LINKS)
    assert e["work_dir"]["state"] == "DELETED"
    assert (site.launch_dir / ".hidden/l").read_text() == "data\n"
    assert (tmp_path / "elsewhere/l").read_text() == "data\n"
    assert f"1 link to whole task dirs, which end with the work dir: {site.launch_dir}/whole" in e["said"]


@pytest.mark.parametrize("given", ["word", "file"])
def test_links_in_a_folder_that_a_parameter_names(site: Site, tmp_path: Path, given: str):
    """A pipeline that publishes nothing links its results into the folder of `--outdir` itself."""
    outdir = tmp_path / "elsewhere"
    (outdir / "of_before").mkdir(parents=True)
    os.utime(outdir, (0, 0))
    words = ["--outdir", str(outdir)]
    if given == "file":
        (site.launch_dir / "params.json").write_text(json.dumps({"outdir": str(outdir)}))
        words = ["-params-file", "params.json"]
    e = launch(site, """
process A { output: path 'a.txt'
  script: "echo data > a.txt; ln -s \\$PWD/a.txt ${params.outdir}/of_before/l" }
workflow { A() }
""", *words)
    assert e["work_dir"]["state"] == "DELETED"
    assert (outdir / "of_before/l").read_text() == "data\n"


def test_links_when_the_clock_was_ahead_at_the_launch(site: Site, tmp_path: Path):
    """Files that are older than their execution are its own all the same."""
    named, scripted = tmp_path / "named", tmp_path / "scripted"
    named.mkdir()
    scripted.mkdir()
    words = ("--storage-expiration-hours", "1", "--outdir", str(named))
    launch(site, "process A { script: 'exit 1' }\nworkflow { A() }", *words, code=1)
    with contextlib.closing(sqlite3.connect(site.base / "state.db")) as db, db:
        db.execute("UPDATE executions SET created_at = datetime(created_at, '+2 days')")
    (site.launch_dir / "main.nf").write_text(f"""
process A {{ output: path 'a.txt'
  script: "echo data > a.txt; ln -s \\$PWD/a.txt ${{params.outdir}}/l; ln -s \\$PWD/a.txt {scripted}/l" }}
workflow {{ A() }}
""")
    site.ok("relaunch", site.show()["id"])
    assert site.show()["work_dir"]["state"] == "DELETED"
    assert (named / "l").read_text() == (scripted / "l").read_text() == "data\n"


def test_links_in_folders_that_only_scripts_name(site: Site, tmp_path: Path):
    """A task links its results into a folder that neither a parameter nor publishDir names."""
    results = tmp_path / "the results"
    e = launch(site, f"""
process A {{ input: val s
  output: path 'a.txt'
  script:
  \"\"\"
  echo data $s > a.txt
  mkdir -p "{results}/$s"
  ln -s \\$PWD/a.txt "{results}/$s/l"
  cd '{results}' && ln -st {tmp_path} \\$OLDPWD/a.txt || true
  \"\"\" }}
workflow {{ A(channel.of(1, 2)) }}
""")
    assert e["work_dir"]["state"] == "DELETED"
    assert [(results / s / "l").read_text() for s in "12"] == ["data 1\n", "data 2\n"]
    assert (tmp_path / "a.txt").read_text().startswith("data ")


def test_links_in_folders_that_only_code_names(site: Site, tmp_path: Path):
    """A default of a parameter, a native task, an afterScript, the environment, and subfolders of them."""
    (site.launch_dir / "nextflow.config").write_text(f"""
params.outdir = "{tmp_path}/by default"
env.RESULTS = '{tmp_path}/environment'
process.afterScript = 'mkdir -p {tmp_path}/after; ln -sf $PWD/a.txt {tmp_path}/after/l'
""")
    e = launch(site, f"""
process A {{ output: path 'a.txt'
  script:
  \"\"\"
  echo data > a.txt
  mkdir -p \\$RESULTS/1
  ln -s \\$PWD/a.txt \\$RESULTS/1/l
  for i in 1 2; do mkdir -p {tmp_path}/loop/\\$i; ln -s \\$PWD/a.txt {tmp_path}/loop/\\$i/l; done
  \"\"\" }}
process B {{ input: path x
  output: path 'b.txt'
  exec:
  task.workDir.resolve('b.txt').text = 'native\\n'
  file('{tmp_path}/native').mkdirs()
  task.workDir.resolve('b.txt').mklink('{tmp_path}/native/l') }}
workflow {{
  file(params.outdir).mkdirs()
  A() | subscribe {{ it.mklink("$params.outdir/l"); it.mklink("$projectDir/../beside.txt") }}
  B(A.out) }}
""")
    assert e["work_dir"]["state"] == "DELETED"
    for place in ("environment/1/l", "loop/1/l", "loop/2/l", "after/l", "by default/l"):
        assert (tmp_path / place).read_text() == "data\n", place
    assert (site.launch_dir.parent / "beside.txt").read_text() == "data\n"
    assert (tmp_path / "native/l").read_text() == "native\n"


def test_outputs_that_are_stored_in_the_work_dir(site: Site):
    """A storeDir there, as a publishDir there, holds the work dir."""
    e = launch(site, STORED)
    assert (e["state"], e["work_dir"]["state"]) == ("SUCCEEDED", "RETAINED")
    assert "stored inside the work dir itself" in e["work_dir"]["reason"]


def test_results_beside_the_work_dir(site: Site):
    """What is published into the execution's own folder stays when its records go."""
    e = launch(site, FOLDER.replace("'results'", '"${workflow.workDir}/../results"'))
    assert e["work_dir"]["state"] == "DELETED"
    results = Path(e["work_dir"]["path"]).parent / "results"
    before = sorted(p.name for p in results.rglob("*"))
    for _ in range(2):
        site.ok("sweep", NFRESUME_KEEP_RECORDS_DAYS="0.0000001")
    assert sorted(p.name for p in results.rglob("*")) == before != []
    assert not (results.parent / "attempts").exists()


def test_left_links_are_told(site: Site, elsewhere: Path):
    """After a failure, links on another file system are not copied yet: the end says so."""
    (site.launch_dir / "main.nf").write_text(FOLDER)
    done = site.run("launch", "--storage-expiration-hours", "48", "main.nf", "--fail", "--out",
                    str(elsewhere / "results"))
    assert "on another file system still need the work dir" in done.err
    new = elsewhere / "new"
    os.rename(elsewhere / "results", new)
    (elsewhere / "results").symlink_to(new)  # moved, and linked back
    site.ok("delete", "main", "--yes")
    assert links(new) == []


@pytest.mark.long
@pytest.mark.parametrize(("retain", "ends"), [("slim", "exit 4"), ("full", "exit 4"), ("full", "rm b.txt")])
def test_links_into_a_failed_task(site: Site, elsewhere: Path, retain: str, ends: str):
    """Slim retention empties the dir of a failed task, and a relaunch sets it aside. What the pipeline has
    linked to in it is copied to another file system before."""
    (site.launch_dir / "main.nf").write_text('''
process A { publishDir params.out
  output: path 'a.txt'
  script: "echo a > a.txt" }
process B { publishDir params.out
  input: path a
  output: path 'b.txt'
  script: """
    mkdir all; echo partial > all/log; cp $a all; cp $a b.txt; ln -s \\$PWD/all $params.out/$params.fail
    ${params.fail ? params.ends : ''}
    """.stripIndent() }
workflow { B(A()) }
''')
    done = site.run("launch", "--storage-expiration-hours", "48", "--retain", retain, "main.nf", "--out",
                    str(elsewhere), "--ends", ends, "--fail", "true")
    assert done.code == 1, done.err
    assert links(elsewhere) == [elsewhere / "a.txt"]  # of a finished task: copied later
    assert (elsewhere / "true/log").read_text() == "partial\n"
    site.ok("relaunch", "main", "--fail", "false")
    assert (elsewhere / "true/log").read_text() == (elsewhere / "false/log").read_text() == "partial\n"
    assert (elsewhere / "true/a.txt").read_text() == "a\n"
    assert links(elsewhere) == []


def test_a_link_to_the_work_dir_itself(site: Site):
    """A user's own shortcut to the work dir is no result: it is not filled with everything that goes."""
    e = kept(site)
    (site.launch_dir / "shortcut").symlink_to(e["work_dir"]["path"])
    task_dir = next(Path(e["work_dir"]["path"]).glob("??/*"))
    (site.launch_dir / "task").symlink_to(task_dir)
    site.ok("delete", e["id"], "--yes")
    assert (site.launch_dir / "shortcut").is_symlink()
    assert (site.launch_dir / "task").is_symlink()


@pytest.mark.parametrize("code", [0, 1])
def test_results_inside_of_a_published_folder(site: Site, code: int):
    """A process publishes into a folder that another has published, as a link: all of it is one folder.

    It waits for that: Nextflow publishes a task's results while the next one runs, and replaces others.
    """
    e = launch(site, """
process SAMPLE { publishDir 'results'
  output: path 'sample'
  script: "mkdir sample; echo reads > sample/reads" }
process QC { publishDir 'results/sample/qc'
  publishDir 'results/sample'
  input: path sample
  output: path 'qc.txt'
  script: "until [ -e ${launchDir}/results/sample/reads ]; do sleep 0.1; done; cat sample/reads > qc.txt" }
process LAST { input: path qc
  script: "exit ${params.code}" }
workflow { SAMPLE | QC | LAST }
""", "--code", str(code), code=code)
    assert e["work_dir"]["state"] == "DELETED", e["said"]
    results = site.launch_dir / "results"
    for file in ("sample/reads", "sample/qc.txt", "sample/qc/qc.txt"):
        assert (results / file).read_text() == "reads\n"
    assert links(results) == []


@pytest.mark.long
@pytest.mark.parametrize("words", [(), ("--on-success", "keep", "--storage-expiration-hours", "1")])
def test_a_result_that_vanished_before_the_end(site: Site, words: tuple[str, ...]):
    """What was published and has moved when the run succeeds holds the work dir until a person decides."""
    moves = "workflow.onComplete { file(\"$launchDir/results/big.txt\").moveTo(\"$launchDir/../big.txt\") }\n"
    script = FOLDER.replace("workflow {", moves + "workflow {")
    e = launch(site, script, *words)
    assert (e["state"], e["work_dir"]["state"]) == ("SUCCEEDED", "RETAINED")
    assert "big.txt: was published, and is not there" in e["work_dir"]["reason"]
    with contextlib.closing(sqlite3.connect(site.base / "state.db")) as db, db:
        db.execute("UPDATE work_dirs SET look_again_at = '2020-01-01 00:00:00.000000' "
                   "WHERE look_again_at IS NOT NULL")
    expire(site)
    site.ok("sweep")
    assert (site.launch_dir / "../big.txt").read_text() == "big\n"
    site.ok("delete", e["id"], "--yes")  # a person looked, and says so
    assert site.show()["work_dir"]["state"] == "DELETED"


def test_a_pipeline_that_deletes_its_work_dir(site: Site):
    """What a pipeline's own code removes cannot be had back (nextflow#626): it is told."""
    removes = "workflow.onComplete { file(workflow.workDir).deleteDir() }\n"
    e = launch(site, FOLDER.replace("workflow {", removes + "workflow {"))
    assert (e["state"], e["work_dir"]["state"]) == ("SUCCEEDED", "RETAINED")
    assert "which is gone" in e["work_dir"]["reason"]


@pytest.mark.long
def test_nothing_but_nfresume_deletes(site: Site):
    """`cleanup = true` in any configuration, also the only one (-C), deletes nothing from a work dir."""
    (site.launch_dir / "user.config").write_text("cleanup = true\nparams.n = 3\n")
    (site.launch_dir / "main.nf").write_text(FOLDER)
    for words in (["-C", "user.config"], ["-c", "user.config"]):
        site.ok("launch", "--pin", *words, "main.nf")
        e = site.show()
        assert len(list(Path(e["work_dir"]["path"]).glob("??/*"))) == 3, words
        assert (site.launch_dir / "results/big/000001").read_text() == "content\n"


@pytest.mark.long
def test_results_of_another_execution(site: Site):
    """A result that is a link into another execution's work dir becomes the data: that one goes, too."""
    first = kept(site)
    inside = next(Path(first["work_dir"]["path"]).glob("??/*/big.txt"))
    second = launch(site, """
process P { publishDir 'results2'
  input: path f
  output: path f
  script: "true" }
workflow { P(file(params.f)) }
""", "--f", str(inside))
    assert second["work_dir"]["state"] == "DELETED"
    site.ok("delete", first["id"], "--yes")
    assert (site.launch_dir / "results2/big.txt").read_text() == "big\n"
    assert links(site.launch_dir / "results2") == []


@pytest.mark.long
def test_a_relaunch_shortens_nothing(site: Site):
    """extend 720, then a relaunch that fails at once: kept until then. A hold stays as well."""
    e = kept(site)
    until_then = site.ok("extend", e["id"], "720", "--json").json()["work_dir"]["expires_at"]
    again = site.run("relaunch", e["id"], "--pipeline", "main.nf")
    assert again.code == 1
    assert site.show()["work_dir"]["expires_at"] == until_then
    refused = site.run("unpin", e["id"])
    assert (refused.code, "not pinned" in refused.err) == (80, True)
    assert site.show()["work_dir"]["expires_at"] == until_then
