"""Conda environments and container images are made once for an account, not once for each work dir."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from nfresume import settings
from nfresume.retained import environments
from nfresume.storage import Root
from nfresume.store import Store
from tests.acceptance.conftest import run_plain
from tests.conftest import Site, snapshot, until

pytestmark = pytest.mark.slow

PIPELINE = """\
params.ok = false
process C { publishDir 'results', mode: 'copy'; conda 'samtools=1.0'
    output: path 'c'; script: "echo c > c" }
process S { publishDir 'results', mode: 'copy'; container 'quay.io/x:1'
    output: path 's'; script: "echo s > s" }
process LAST { input: path c; path s; script: "$params.ok" }
workflow { LAST(C(), S()) }
"""
CONDA = """\
#!/bin/bash
[ "$1" = info ] && { echo "  \\"conda_prefix\\": \\"HERE/conda-root\\","; exit; }
[ "$1" = create ] && echo create >> HERE/log
while [ $# -gt 0 ]; do [ "$1" = --prefix ] && mkdir -p "$2" && echo data > "$2/data"; shift; done
"""
SINGULARITY = """\
#!/bin/bash
case $1 in pull)
    echo pull >> HERE/log
    while [ $# -gt 0 ]; do [ "$1" = --name ] && echo image > "$2"; shift; done
    exit;;
esac
while [ "$1" != /bin/bash ]; do shift; done
exec "$@"
"""


@pytest.fixture
def players(site: Site) -> Path:
    """The log of programs that play conda and singularity: they say what they made."""
    place = site.base / "players"
    (place / "conda-root/bin").mkdir(parents=True)
    (place / "conda-root/bin/activate").touch()
    for name, text in (("conda", CONDA), ("singularity", SINGULARITY)):
        (place / name).write_text(text.replace("HERE", str(place)))
        (place / name).chmod(0o755)
    site.env["PATH"] = f"{place}:{site.env['PATH']}"
    (site.launch_dir / "main.nf").write_text(PIPELINE)
    (site.launch_dir / "nextflow.config").write_text("conda.enabled = true\nsingularity.enabled = true\n")
    return place / "log"


def made(log: Path) -> list[str]:
    """What was made since the last call."""
    lines = sorted(log.read_text().splitlines()) if log.exists() else []
    log.unlink(missing_ok=True)
    return lines


def tidied(site: Site, hours: float) -> dict[str, list[str]]:
    """What is left in the cache after a sweep tidied it, so many hours from now."""
    conf = settings.load(site.env)
    store = Store.open(conf.database_url)
    try:
        environments.tidy(store, conf, Root.open(conf.root), threading.Event(), thorough=True,
                          believed=lambda _: datetime.now(UTC) + timedelta(hours=hours))
    finally:
        store.close()
    cache = site.root / "team/.environments"
    return {kind: sorted(p.name for p in (cache / kind).iterdir()) for kind in ("conda", "singularity")}


@pytest.mark.long
def test_made_once(site: Site, players: Path, plain_nextflow: Path):
    """Plain Nextflow makes them in each work dir; the second execution here finds them; results are equal."""
    plain = site.base / "plain"
    plain.mkdir()
    for name in ("main.nf", "nextflow.config"):
        (plain / name).write_bytes((site.launch_dir / name).read_bytes())
    theirs = []
    for work in ("work1", "work2"):
        done = run_plain(plain_nextflow, plain, "main.nf", "--ok", "true", "-w", work, env=site.env)
        assert done.returncode == 0, done.stdout
        theirs.append(made(players))
    ours = []
    assert site.run("launch", "--pin", "main.nf").code == 1
    ours.append(made(players))
    e = site.show()
    site.ok("launch", "main.nf", "--ok", "true")
    ours.append(made(players))
    assert theirs == [["create", "pull"], ["create", "pull"]]
    assert ours == [["create", "pull"], []]
    assert snapshot(site.launch_dir / "results") == snapshot(plain / "results")
    assert sorted(p.name for p in Path(e["work_dir"]["path"]).iterdir() if len(p.name) > 2) == []

    # It is measured and billed like the task cache.
    site.ok("sweep")
    report = site.ok("costs", "--by", "pipeline", "--json").json()
    held = report["now"]["environments_metered_bytes"]
    assert held >= 2 * 6 * 1024
    assert report["now"]["task_cache_metered_bytes"] == 0
    assert held in [line["metered_bytes_now"] for line in report["lines"] if line["key"] == "(environments)"]

    # A kept work dir needs them: Nextflow would run tasks again whose conda environment was made anew.
    both = tidied(site, 800)
    assert [len(names) for names in both.values()] == [1, 1]
    relaunched = site.ok("relaunch", e["id"], "--ok", "true")
    assert "Cached process > C" in relaunched.out
    assert "Cached process > S" in relaunched.out
    site.ok("unpin", e["id"])
    site.ok("delete", e["id"], "--yes")
    # None goes while an execution runs; then those go that were not used for long.
    (site.launch_dir / "slow.nf").write_text("process P { script: 'sleep 60' }\nworkflow { P() }")
    site.ok("launch", "--detach", "slow.nf")
    until(lambda: list(site.root.glob("team/slow-*/work/*/*/.command.begin")), what="a task runs")
    assert tidied(site, 800) == both
    site.ok("cancel", site.show()["id"])
    assert tidied(site, 700) == both
    assert tidied(site, 800) == {"conda": [], "singularity": []}
    assert site.ok("costs", "--json").json()["now"]["environments_metered_bytes"] == 0


@pytest.mark.long
def test_where_the_user_says(site: Site, players: Path):
    """The configuration, the environment and the setting each decide where they go."""
    cache = site.root / "team/.environments"
    mine = site.base / "mine"
    site.ok("launch", "main.nf", "--ok", "true", NXF_CONDA_CACHEDIR=str(mine),
            NXF_SINGULARITY_CACHEDIR=str(mine))
    assert {p.name.partition("-")[0] for p in mine.iterdir()} == {"env", "quay.io"}
    assert not list(cache.glob("[!.]*/*"))
    with (site.launch_dir / "nextflow.config").open("a") as config:
        config.write(f"conda.cacheDir = '{site.base}/configured'\n")
    site.ok("launch", "main.nf", "--ok", "true")
    assert list((site.base / "configured").iterdir())
    assert [p.parent.name for p in cache.glob("[!.]*/*")] == ["singularity"]
    (site.launch_dir / "nextflow.config").write_text("conda.enabled = true\nsingularity.enabled = true\n")
    site.run("launch", "--pin", "main.nf", NFRESUME_ENVIRONMENT_CACHE_HOURS="0")
    e = site.show()
    work = Path(e["work_dir"]["path"])
    assert sorted(p.name for p in work.iterdir() if len(p.name) > 2) == ["conda", "singularity"]
    # An execution stays with what it began with: other paths would run its tasks again.
    made(players)
    assert "Cached process > C" in site.ok("relaunch", e["id"], "--ok", "true").out
    assert made(players) == []
