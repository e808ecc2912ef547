"""The guard: bash that ends a task before its first command when one of its inputs is emptied.

Every bash below the head reads it (BASH_ENV). It acts in the wrapper of a task, on the host, also for tasks
in containers. It looks at what the wrapper, the staging file and the script name, at where links among that
lead, and into small files among that, such as samplesheets, which may be gzipped. It fails closed: without
its list no task starts.

A task with an emptied input leaves a file in `attempts/<n>/needed`, and waits to be ended with the head, so
that no error strategy of the pipeline sees it. Without a supervisor it ends with STATUS after a minute.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path

from nfresume.nextflow import mentions
from nfresume.system import durable, regular

#: In the folder of an attempt: what no task may name, and a folder with a file for each task that does.
LIST, NEEDED = "emptied.txt", "needed"
#: Executors whose tasks get the environment of the head, and with it the guard.
EXECUTORS = frozenset({"local", "slurm"})
#: The exit status of a task that was ended.
STATUS = 187
#: In a task dir: the attempt whose guard has looked at the task. A task without it is not to be trusted.
MARK = ".command.guarded"
_END = "# end"
#: A path in a text of a shell, from the root or from a folder above, with escaped characters.
_PATH = r"(\.\.)?/(\\.|[^][:space:]\"'`;,:()<>|&[])+"
#: Larger files are not looked into, in KiB.
SHEET_KIB = 2048
#: So many bytes of all of them together, unpacked.
MOST_UNPACKED = SHEET_KIB << 17

_SCRIPT = r"""
_nfresume_real() (
    printf '%s\n' "$1" | tr '\n' '\0' | xargs -0 readlink -f -- 2> /dev/null
    ended=("${PIPESTATUS[@]}")  # 123: some of them lead nowhere
    [ ${ended[1]} = 0 ] && { [ ${ended[2]} = 0 ] || [ ${ended[2]} = 123 ]; }
)
# The task, and those that a job array starts: their wrappers do not read this.
_nfresume_tasks() (
    cd -- "$1" && echo . || exit 2
    ! grep -aqs 'nxf_array_task_dir=' .command.sh ||
        grep -aohE @TOKEN@ .command.sh | cut -c 1-33 | sort -u | sed 's:^:../../:'
)
# A relative link may be staged into a folder of the task dir.
_nfresume_up() { sed -nE -e ':up' -e p -e 's:^\.\./(\.\./):\1:' -e 't up'; }
_nfresume_small() {
    printf '%s\n' "$1" | tr '\n' '\0' | xargs -0 sh -c \
        'find -L "$@" -maxdepth 0 -type f -size -@SHEET@k' sh 2> /dev/null
}
_nfresume_each() { [ -z "$1" ] || printf '%s\n' "$1" | tr '\n' '\0'; }
_nfresume_named() (
    set +eux; set +o pipefail; shopt -u nullglob failglob; unset GREP_OPTIONS; export LC_ALL=C; IFS=$' \t\n'
    list=@LIST@ token=@TOKEN@ path=@PATH@
    cd -- "$1" || exit 2
    for program in cut grep sed sort tr xargs readlink find head tail gzip; do
        command -v $program > /dev/null || { echo "there is no $program"; exit 2; }
    done
    [ "$(tail -n 1 "$list" 2> /dev/null)" = @END@ ] || { echo "cannot read $list"; exit 2; }
    files=()
    for task in $(_nfresume_tasks .); do
        [ -r $task/.command.run ] || { echo "cannot read $1/$task/.command.run"; exit 2; }
        for name in .command.run .command.stage .command.sh; do
            [ ! -e $task/$name ] || files+=($task/$name)
        done
    done
    [ ${#files[@]} != 0 ] || { echo "cannot read $1"; exit 2; }
    text=$(grep -aohE "$token" "${files[@]}"); [ $? -le 1 ] || { echo "cannot read $1"; exit 2; }
    paths=$(grep -aohE "$path" "${files[@]}" | sed -E 's/\\(.)/\1/g' | _nfresume_up | sort -u)
    real=$(_nfresume_real "$paths") || { echo "cannot follow links"; exit 2; }
    small=$(_nfresume_small "$paths")
    sheets=$(
        _nfresume_each "$small" | xargs -0 -r grep -IohE "$token|$path" -- 2> /dev/null
        _nfresume_each "$small" | xargs -0 -r grep -lZF $'\x1f\x8b\x08' -- 2> /dev/null | xargs -0 -r sh -c \
            'for file; do gzip -cdfq -- "$file"; echo; done' sh 2> /dev/null |
            head -c @UNPACKED@ | grep -aoE "$token|$path")
    sheets=$(printf '%s\n' "$sheets" | sort -u)
    [ -z "$sheets" ] || real+=$'\n'$(_nfresume_real "$sheets") || { echo "cannot follow links"; exit 2; }
    printf '%s\n' "$text" "$real" "$sheets" | grep -aoE "$token" | sed -E \
        -e 's:^(.{33})[^/].*$:\1:' -e 's://+:/:g' -e 's:^(.{33})/(.*/)?\.\.(/.*)?$:\1:' \
        -e 's:/[^/]*[^/@SAFE@].*$::' -e 's:(/\.)+(/|$):\2:g' -e 's:/+$::' |
        grep -xF -f "$list"
    ended=("${PIPESTATUS[@]}")  # of printf, grep, sed, grep
    [ ${ended[0]} = 0 ] && [ ${ended[1]} -le 1 ] && [ ${ended[2]} = 0 ] || exit 2
    exit ${ended[3]}
)
_nfresume_write() {
    local task
    for task in $(_nfresume_tasks "$2"); do echo "$1" > "$2/$task/$3" || return; done
}
_nfresume_guard() {
    local named status file
    named=$(_nfresume_named "$1") && status=0 || status=$?
    [ $status != 0 ] || named=$(printf '%s\n' "$named" | sort -u)
    if [ $status = 1 ] && _nfresume_write @ATTEMPT@ "$1" @MARK@; then
        export _NFRESUME_GUARDED=$1
        return 0
    fi
    if [ $status = 0 ]; then
        file=@NEEDED@/$$-$RANDOM
        printf '%s\n' "$1" "$named" @END@ > "$file.tmp" && mv "$file.tmp" "$file" || :
        echo "nfresume: the content of these inputs is not kept, they are made again: $named" >&2
        sleep 60
    else
        echo "nfresume: no task is started without a look at its inputs: ${named:-the look failed}" >&2
    fi
    _nfresume_write @STATUS@ "$1" .exitcode
    exit @STATUS@
}
_nfresume_task=$PWD
case $0 in */.command.run) _nfresume_task=${0%/*} ;; esac
if [ "${_NFRESUME_GUARDED-}" != "$_nfresume_task" ] && [ -e "$_nfresume_task/.command.run" ]; then
    _nfresume_guard "$_nfresume_task"
fi
unset _nfresume_task
"""


def script(attempt_dir: Path) -> str:
    """The text of the guard for an attempt."""
    values = {"LIST": shlex.quote(str(attempt_dir / LIST)), "NEEDED": shlex.quote(str(attempt_dir / NEEDED)),
              "TOKEN": shlex.quote(mentions.PATTERN), "PATH": shlex.quote(_PATH),
              "SAFE": mentions.SAFE, "END": shlex.quote(_END),
              "MARK": MARK, "ATTEMPT": shlex.quote(str(attempt_dir)),
              "STATUS": str(STATUS), "SHEET": str(SHEET_KIB), "UNPACKED": str(MOST_UNPACKED)}
    text = _SCRIPT
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    return text


def arm(attempt_dir: Path, names: Iterable[str]) -> None:
    """Write what no task of an attempt may name: paths below the work dir. Raises OSError."""
    (attempt_dir / NEEDED).mkdir(exist_ok=True)
    durable.write(attempt_dir / LIST, "\n".join([*sorted(names), _END, ""]).encode())


def is_needed(attempt_dir: Path) -> bool:
    """True when a task of an attempt has named an emptied file."""
    return bool(_notes(attempt_dir))


def needed(attempt_dir: Path) -> set[str]:
    """What tasks of an attempt have named in vain, as the guard has noted it."""
    found: set[str] = set()
    for note in _notes(attempt_dir):
        _, *names = regular.text(note).splitlines()
        found.update(name for name in names if name != _END)
    return found


def _notes(attempt_dir: Path) -> list[Path]:
    """The whole notes of the guard; none before it was armed."""
    try:
        return [path for path in (attempt_dir / NEEDED).iterdir() if path.suffix != ".tmp"]
    except OSError:
        return []
