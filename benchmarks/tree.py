"""A work dir as Nextflow leaves it: `python benchmarks/tree.py FOLDER TASKS [SEED]`.

Each task dir `ab/cdef...` holds the eight dot files of Nextflow, one to five outputs, and one to five
symlinks to outputs of earlier tasks: 15 entries on average, 29 kB of data.
"""

from __future__ import annotations

import hashlib
import os
import random
import sys

DOT_FILES = ((".command.sh", 80, 900), (".command.run", 3500, 12000), (".command.begin", 0, 0),
             (".command.log", 0, 3000), (".command.out", 0, 2500), (".command.err", 0, 500),
             (".exitcode", 1, 1), (".command.trace", 260, 260))
ENDINGS = ("bam", "vcf.gz", "txt", "html", "fastq.gz", "tsv")


def build(work: str, tasks: int, seed: int = 1) -> int:
    """Build the tree; returns its number of entries, including the work dir itself."""
    rnd = random.Random(seed)
    data = random.Random(7).randbytes(1 << 16)
    os.makedirs(work)
    outputs: list[str] = []
    prefixes: set[str] = set()
    entries = 1
    for number in range(tasks):
        digest = hashlib.md5(b"%d-%d" % (seed, number), usedforsecurity=False).hexdigest()
        prefix = os.path.join(work, digest[:2])
        if prefix not in prefixes:
            prefixes.add(prefix)
            os.mkdir(prefix)
            entries += 1
        task = os.path.join(prefix, digest[2:])
        os.mkdir(task)
        files = [(name, rnd.randint(least, most)) for name, least, most in DOT_FILES]
        mine = [f"sample_{number}_{n}.{rnd.choice(ENDINGS)}" for n in range(rnd.randint(1, 5))]
        files += [(name, int(2 ** rnd.uniform(4, 15.5))) for name in mine]
        for name, size in files:
            with open(os.path.join(task, name), "wb") as file:
                file.write(data[:size])
        links = rnd.randint(1, 5) if outputs else 0
        for n in range(links):
            os.symlink(rnd.choice(outputs), os.path.join(task, f"in_{n}"))
        outputs += [os.path.join(task, name) for name in mine]
        del outputs[:-5000]
        entries += 1 + len(files) + links
    return entries


if __name__ == "__main__":
    print(build(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 1))
