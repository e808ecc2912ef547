"""Random pipelines under lean retention, against plain Nextflow from scratch: the results must be the same.

    make lean                       # 20 trials of ten pipelines each
    make lean SEED=17 SEEDS=1       # one trial again, as a failure prints it

A trial writes ten random pipelines (DAGs of processes) into one script: outputs that are files or folders;
inputs that are staged, of one sample or of all, split or gathered by the head, values, read by the head, or
named in a samplesheet; random directives. It fails at random tasks, once or twice. Before each relaunch
random edits change scripts, add readers of earlier outputs, change a reference or take a process away. Then
plain Nextflow runs the last script from scratch elsewhere, and all results are compared byte by byte; and so
are those of one more launch, with files that are emptied while it runs. Prints seeds, counts and time.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from nfresume import home
from nfresume.nextflow import embedded
from nfresume.storage import emptying
from tests.conftest import BIN, BOUND, Site, snapshot

#: Files are this large, and lean retention empties those that are larger than MINIMUM.
SIZE, MINIMUM = 20_000, 4_000
SAMPLES = (1, 2)
HOW = ("staged", "staged", "staged", "value", "sheet", "head", "all")
#: Of an output that is a file.
HOW_FILES = (*HOW, "split", "gathered")
#: How operators make an input for a sample of all outputs of a process, or of parts of one.
OPERATORS = {
    "all": ".combine({}.toSortedList {{ a, b -> a[0] <=> b[0] }}.map {{ all -> [all.collect {{ it[1] }}] }})",
    "split": ".join({}.splitText(by: 100, file: true).groupTuple(sort: true))",
    "gathered": ".combine({}.map {{ n, f -> f }}.collectFile(name: 'gathered.bin', sort: {{ f -> f.text }}))",
}
PATIENCE = 3_000


@dataclass
class Process:
    """One process. `inputs` are earlier processes, each with how it is read. `reads_reference`: also an
    outside file. `fails_at`: the sample at which it fails until its round is over."""

    name: str
    folder: bool
    inputs: list[tuple[Process, str]]
    directives: list[str]
    salt: int
    reads_reference: bool
    publishes: str | None
    fails_at: int | None = None
    fails_round: int = 0

    def text(self) -> str:
        """The definition of the process, and of those that write its samplesheets."""
        declared, reads, sheets = ["val n"], [], ""
        for at, (source, how) in enumerate(self.inputs):
            inside = "/*" if source.folder else ""
            if how in ("staged", "split", "gathered"):
                declared.append(f"path(i{at}, stageAs: 'in{at}/*')")
                reads.append(f"cat in{at}/*{inside}")
            elif how == "all":
                declared.append(f"path(i{at}, stageAs: 'in{at}/?/*')")
                reads.append(f"cat in{at}/*/*{inside}")
            elif how == "value":
                declared.append(f"val i{at}")
                reads.append(f"cat $i{at}{inside}")
            elif how == "sheet":
                declared.append(f"path(i{at}, stageAs: 'sheet{at}/*')")
                reads.append(f"cat \\$(cat sheet{at}/*){inside}")
                sheets += (f"process {self.name}_S{at} {{ tag \"$n\"\n  input: tuple val(n), val(p)\n"
                           "  output: tuple val(n), path('sheet.txt')\n"
                           "  script: \"echo $p > sheet.txt\" }\n")
            else:
                declared.append(f"val i{at}")
                reads.append(f"echo $i{at}")
        if self.reads_reference:
            declared.append("path ref")
            reads.append("cat $ref")
        out = "out" if self.folder else "out.bin"
        write = (f"mkdir out; yes \\$(cat seed) | head -c {SIZE} > out/a.bin; "
                 "cp out/a.bin out/b.bin; echo small > out/small"
                 if self.folder else f"yes \\$(cat seed) | head -c {SIZE} > out.bin")
        fails = ("" if self.fails_at is None else f"[ $n != {self.fails_at} ] || "
                 f"[ -e ${{params.base}}/over{self.fails_round} ] || {{ sleep 8; exit 3; }}\n  ")
        words = [d if "(" in d else d.replace(" ", "(", 1) + ")" for d in declared]
        taken = f"tuple {', '.join(words)}" if len(words) > 1 else declared[0]
        lines = [*self.directives, "publishDir 'results', mode: 'copy', pattern: '*.digest'"]
        if self.publishes:
            lines.append(f"publishDir {{ \"results/{self.name}_$n\" }}, mode: '{self.publishes}', "
                         "pattern: 'out*'")
        return (f"{sheets}process {self.name} {{\n  tag \"$n\"\n  " + "\n  ".join(lines) +
                f"\n  input: {taken}\n  output: tuple val(n), path('{out}'), emit: data\n"
                f"          path \"{self.name}.${{n}}.digest\"\n  script: \"\"\"\n  {fails}"
                f"{{ echo {self.salt} $n {self.name}; {'; '.join(reads) or 'true'}; }} | sha256sum > seed\n"
                f"  {write}\n  cat {out}{'/*' if self.folder else ''} | sha256sum > "
                f"{self.name}.${{n}}.digest\n"
                "  \"\"\" }\n")

    def call(self) -> str:
        """Its lines in the workflow."""
        found = "samples"
        before = ""
        for at, (source, how) in enumerate(self.inputs):
            data = f"{source.name}.out.data"
            if how in OPERATORS:
                found += OPERATORS[how].format(data)
                continue
            if how == "value":
                data += ".map { n, f -> [n, f.toString()] }"
            elif how == "head":
                one = "f.resolve('a.bin')" if source.folder else "f"
                data += f".map {{ n, f -> [n, {one}.text.md5()] }}"
            elif how == "sheet":
                before += f"  {self.name}_S{at}({data}.map {{ n, f -> [n, f.toString()] }})\n"
                data = f"{self.name}_S{at}.out"
            found += f".join({data})"
        if self.reads_reference:
            found += ".combine(ref)"
        return f"{before}  {self.name}({found})\n"


@dataclass
class Pipelines:
    """Several random pipelines in one script."""

    rng: random.Random
    count: int
    rounds: int
    processes: list[list[Process]] = field(default_factory=list)
    added: int = 0  # readers that came with an edit

    def __post_init__(self) -> None:
        for number in range(self.count):
            dag: list[Process] = []
            for at in range(self.rng.randint(3, 6)):
                dag.append(self.process(f"D{number}P{at}", dag))
            failing = dag[-1] if self.rng.random() < 0.8 else self.rng.choice(dag[1:])
            failing.fails_at = self.rng.choice(SAMPLES)
            failing.fails_round = self.rng.randint(1, self.rounds)
            self.processes.append(dag)

    def process(self, name: str, dag: list[Process]) -> Process:
        rng = self.rng
        chosen = rng.sample(dag, min(len(dag), rng.choice((1, 1, 1, 2)))) if dag else []
        directives = [text for text, chance in (
            ("errorStrategy 'ignore'", 0.1), ("errorStrategy 'retry'; maxRetries 1", 0.1),
            ("scratch true", 0.1), ("stageInMode 'copy'", 0.1), ("stageInMode 'rellink'", 0.1),
            ("stageInMode 'link'", 0.05), ("cache 'lenient'", 0.1), ("cache false", 0.03),
        ) if rng.random() < chance]
        inputs = [(source, rng.choice(HOW if source.folder else HOW_FILES)) for source in chosen]
        seen: list[str] = []
        for text in directives:  # one of a kind; a folder has no hard links
            impossible = text == "stageInMode 'link'" and any(source.folder for source, _ in inputs)
            if text.split()[0] not in [each.split()[0] for each in seen] and not impossible:
                seen.append(text)
        return Process(name, rng.random() < 0.3, inputs, seen,
                       rng.randrange(1000), rng.random() < 0.2,
                       rng.choice(("copy", "link", "symlink", "rellink")) if rng.random() < 0.15 else None)

    def edit(self, base: Path) -> Counter[str]:
        """Change some pipelines at random; returns how often what was done."""
        done: Counter[str] = Counter()
        for number, dag in enumerate(self.processes):
            for what, chance in (("script changed", 0.3), ("reader added", 0.3), ("process removed", 0.1)):
                if self.rng.random() > chance:
                    continue
                if what == "script changed":
                    self.rng.choice(dag).salt += 1000
                elif what == "reader added":
                    self.added += 1
                    dag.append(self.process(f"D{number}R{self.added}", self.rng.sample(dag, 1)))
                else:
                    used = {source.name for p in dag for source, _ in p.inputs}
                    spare = [p for p in dag if p.name not in used]
                    if len(dag) > 2 and spare:
                        dag.remove(self.rng.choice(spare))
                done[what] += 1
        if self.rng.random() < 0.2:
            (base / "ref.txt").write_text(f"reference {self.rng.random()}\n")
            done["reference changed"] += 1
        return done

    def script(self) -> str:
        """The whole script."""
        flat = [p for dag in self.processes for p in dag]
        return ("".join(p.text() for p in flat) + "workflow {\n"
                f"  samples = Channel.of({', '.join(map(str, SAMPLES))})\n"
                "  ref = Channel.value(file(\"${params.base}/ref.txt\"))\n"
                + "".join(p.call() for p in flat) + "}\n")


class Trial:
    """One trial: its own root and database (in `state`), ours beside plain Nextflow."""

    def __init__(self, base: Path, state: Path, seed: int, count: int) -> None:
        self.base, self.rng = base, random.Random(seed)
        self.rounds = self.rng.choice((1, 1, 2))
        self.pipelines = Pipelines(self.rng, count, self.rounds)
        env = {k: v for k, v in os.environ.items() if not k.startswith(("NFRESUME_", "NXF_"))}
        env[home.ENGINES] = str(home.engines())
        env.update(NFRESUME_ROOT=str(base / "root"), NFRESUME_DATABASE_URL=f"sqlite:///{state / 'state.db'}",
                   NFRESUME_ACCOUNT="team", NFRESUME_CONFIG=str(base / "nfresume.toml"),
                   NFRESUME_LEAN_MIN_SIZE=str(MINIMUM), PATH=f"{BIN}:{env['PATH']}")
        (base / "nfresume.toml").touch()
        for name in ("launch", "plain"):
            (base / name).mkdir()
        (base / "ref.txt").write_text("reference\n")
        self.site = Site(base, env, BOUND, PATIENCE)
        self.counts: Counter[str] = Counter(pipelines=count)

    def run(self) -> None:
        """Fail, edit, relaunch, and compare with plain Nextflow. Raises AssertionError."""
        words = ["--base", str(self.base)]
        self.write("launch")
        launch = ("launch", "--retain", "lean", "--storage-expiration-hours", "5", "main.nf", *words)
        done = self.site.run(*launch)
        e = self.site.show()
        self.count_emptied(e)
        for number in range(1, self.rounds + 1):
            (self.base / f"over{number}").touch()
            self.counts += self.pipelines.edit(self.base)
            self.write("launch")
            if e["state"] == "SUCCEEDED":  # every failure was ignored: nothing is kept
                self.counts["launched anew"] += 1
                done = self.site.run(*launch)
            else:
                done = self.site.run("relaunch", e["id"])
            e = self.site.show()
            self.count_emptied(e)
            self.counts["attempts of itself"] += sum(v["name"] == "goes_on" for v in e["events"])
        assert e["state"] == "SUCCEEDED", f"{e['attempts'][-1]['error']}\n{done.out[-3000:]}\n{done.err}"
        self.plainly(words)
        self.compare()
        self.freely(launch)

    def freely(self, launch: tuple[str, ...]) -> None:
        """Launch the same once more; files are emptied while it runs, as the success shows who reads them."""
        (self.base / "launch/results").rename(self.base / "launch/before")
        done = self.site.run(*launch, NFRESUME_FREE_WHILE_RUNNING="true", NFRESUME_SAMPLE_SECONDS="0.5")
        e = self.site.show()
        assert e["state"] == "SUCCEEDED", f"{e['attempts'][-1]['error']}\n{done.out[-3000:]}\n{done.err}"
        self.counts["files freed while it ran"] += sum(
            v["detail"]["files"] for v in e["events"] if v["name"] == "freed")
        self.counts["attempts of itself"] += sum(v["name"] == "goes_on" for v in e["events"])
        self.compare()

    def compare(self) -> None:
        """The results are those of plain Nextflow. Raises AssertionError."""
        ours, theirs = (snapshot(self.base / name / "results") for name in ("launch", "plain"))
        expected = {name: data for name, (_, data) in theirs.items()}
        found = {name: data for name, (_, data) in ours.items() if name in expected}
        wrong = sorted(name for name in expected if found.get(name) != expected[name])
        assert not wrong, f"{len(wrong)} of {len(expected)} results differ: {wrong[:10]}"
        self.counts["results compared"] += len(expected)

    def write(self, place: str) -> None:
        (self.base / place / "main.nf").write_text(self.pipelines.script())

    def count_emptied(self, e: dict) -> None:
        with contextlib.suppress(FileNotFoundError):
            entries = emptying.load(Path(e["work_dir"]["path"]).parent / "cache")
            self.counts["files emptied"] += len(entries)
        for event in e["events"]:
            if event["name"] == "emptied" and event["detail"].get("left_alone"):
                self.counts[f"refused: {event['detail']['left_alone'][:60]}"] += 1

    def plainly(self, words: list[str]) -> None:
        """Run plain Nextflow from scratch in a folder of its own."""
        import subprocess

        self.write("plain")
        java = embedded.java(None)
        launcher = embedded.launcher(java, embedded.install(java), self.site.env)
        done = subprocess.run([*launcher, "run", "main.nf", *words, "-ansi-log", "false"], text=True,
                              cwd=self.base / "plain", capture_output=True,
                              env={**self.site.env, "NXF_HOME": str(self.base / "plain/home")},
                              stdin=subprocess.DEVNULL, timeout=PATIENCE)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]


def main() -> None:
    """Run the trials; exit with 1 when one of them has failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--pipelines", type=int, default=10, help="in each trial")
    parser.add_argument("--where", type=Path,
                        help="the folder of all trials, for instance on NFS; databases are in memory then")
    given = parser.parse_args()
    total: Counter[str] = Counter()
    failed = []
    begun = time.monotonic()
    for seed in range(given.seed, given.seed + given.seeds):
        base = Path(tempfile.mkdtemp(prefix="nfresume-lean-", dir=given.where))
        state = Path(tempfile.mkdtemp(prefix="nfresume-state-", dir="/dev/shm")) if given.where else base
        each = Trial(base, state, seed, given.pipelines)
        try:
            each.run()
        except Exception:
            traceback.print_exc()
            failed.append(seed)
            print(f"seed {seed} FAILED; left in {base}", flush=True)
            continue
        finally:
            total += each.counts
        for place in (base, state):
            shutil.rmtree(place, ignore_errors=True)
        print(f"seed {seed} is right, {dict(each.counts)}", flush=True)
    print(f"{given.seeds - len(failed)} of {given.seeds} trials right in {time.monotonic() - begun:.0f} s: "
          f"{dict(total)}; failed: {failed}")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
