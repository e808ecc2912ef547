"""What may be launched from the web: attacks on `web_pipelines`, found in reviews, and their neighbours."""

from __future__ import annotations

import io
import os
import pwd
import random
from dataclasses import replace
from pathlib import Path

import pytest

from nfresume import settings
from nfresume.domain.errors import UsageError
from nfresume.domain.separation import RunAs
from nfresume.service import boundary, submissions
from nfresume.service.submissions import Submission
from nfresume.settings import Settings


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A site's folders: pipelines/qc/main.nf is allowed, elsewhere/evil.nf is not; `link` leads away."""
    for name in ("pipelines/qc/main.nf", "pipelines/wf.py", "elsewhere/evil.nf", "elsewhere/evil.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("workflow {}\n")
    (tmp_path / "nfresume.toml").touch()
    (tmp_path / "link").symlink_to("/usr/lib")
    return tmp_path


def site(place: Path, *pipelines: str) -> Settings:
    return settings.load({
        "NFRESUME_CONFIG": str(place / "nfresume.toml"), "NFRESUME_ACCOUNT": "team",
        "NFRESUME_ROOT": str(place / "root"), "NFRESUME_WEB_LAUNCHES": str(place / "launches"),
        "NFRESUME_WEB_PIPELINES": ", ".join(pipelines)})


def listed(place: Path) -> Settings:
    return site(place, "nf-core/*", "pinned/flow@1.*", "https://git.example.org/team/*",
                f"{place}/pipelines/*", f"{place}/pipelines/wf.py:*")


def test_allowed_pipelines_are_resolved(place: Path):
    """A listed path is passed on without links and `..`; a listed repository as it is."""
    conf = listed(place)
    (place / "short").symlink_to(place / "pipelines/qc")
    real = str(place / "pipelines/qc")
    for given in (real, f"{place}/short", f"{place}/elsewhere/../pipelines/qc"):
        assert boundary.resolve(conf, given, None) == real
    assert boundary.resolve(conf, f"{place}/pipelines/wf.py:run", None) == f"{place}/pipelines/wf.py:run"
    for given in ("nf-core/rnaseq", "https://github.com/nf-core/rnaseq", "https://git.example.org/team/x.git"):
        assert boundary.resolve(conf, given, None) == given
    assert boundary.resolve(conf, "pinned/flow", "1.2") == "pinned/flow"


def test_a_pattern_behind_a_link(place: Path):
    """A pattern whose folder is a link allows what the link leads to."""
    (place / "mnt").symlink_to(place / "pipelines")
    conf = site(place, f"{place}/mnt/*")
    assert boundary.resolve(conf, f"{place}/mnt/qc", None) == str(place / "pipelines/qc")


@pytest.mark.parametrize("evil", [
    "{place}/pipelines/../elsewhere/evil.nf", "{place}/pipelines/link/evil.nf", "{place}/elsewhere/evil.nf",
    "{place}/elsewhere/evil.py:run", "{place}/pipelines/../elsewhere/evil.py:run",
    "{place}/launches/team/x/pipelines/main.nf", "{place}/root/team/x/work/evil.nf",
    "pipelines/qc", "./nf-core/x", "nf-core/../elsewhere", "nf-core/..", "../nf-core/x", "nf-core/x/../../y",
    "main.nf", "evil/nf-core", "file:{place}/elsewhere/evil.nf", "file://{place}/pipelines/qc",
    "https://github.com/evil/nf-core/x", "https://github.com/nf-core/../evil/x",
    "https://github.com/nf-core/%2e%2e/evil", "https://nf-core@github.com/evil/x",
    "https://git.example.org/team/../evil/x", "https://git.example.org/team/x?y=/team/",
    "https://git.example.org:8443/team/x", "https://git.example.org.evil.org/team/x",
    "git@github.com:nf-core/x", "nf-core/x\n", "nf-core/x\0", "-nf-core/x", "",
])
def test_what_is_not_listed_is_refused(place: Path, evil: str):
    """Links, `..`, hosts, schemes and escapes do not lead out of the list."""
    (place / "pipelines/link").symlink_to(place / "elsewhere")
    with pytest.raises(UsageError):
        boundary.resolve(listed(place), evil.replace("{place}", str(place)), None)


@pytest.mark.parametrize(("revision", "allowed"), [("1.0", True), ("2.0", False), (None, False), ("dev",
    False)])
def test_a_revision_can_be_pinned(place: Path, revision: str | None, allowed: bool):
    """`owner/repo@1.*` allows only these revisions, and never the default branch."""
    if allowed:
        boundary.resolve(listed(place), "pinned/flow", revision)
        return
    with pytest.raises(UsageError):
        boundary.resolve(listed(place), "pinned/flow", revision)


def test_no_setting_allows_nothing(place: Path):
    """Without `web_pipelines` nothing may be launched from the web; "any" allows everything."""
    with pytest.raises(UsageError, match="allows no launches"):
        boundary.resolve(site(place), "nf-core/rnaseq", None)
    assert boundary.resolve(site(place, "any"), "./x.nf", None) == "./x.nf"


@pytest.mark.parametrize("name", [
    "nextflow.config", "x/nextflow.config", "a.config", "A.CONFIG", "main.nf", "nf-core/demo/main.nf",
    "nf-core/x",
    "NF-CORE/x", "lib/a.groovy", "x/bin/run", "bin", "modules/x.txt", "x/templates/t.txt",
    ".nextflow/history",
    "data/.hidden", "run.sh", "x.py", "x.nf.txt", "report.Rmd", "a:b", "a\\b", ".nfresume/params.json",
])
def test_attachments_are_data(place: Path, name: str):
    """Configuration, scripts, code folders, hidden files, and what shadows the pipeline are refused by
    name.
    """
    conf = listed(place)
    with pytest.raises(UsageError):
        submissions.check(conf, Submission("nf-core/demo", attachments={name: io.BytesIO(b"x")}))


def test_attached_data_is_allowed(place: Path):
    """Sample sheets, reads and references may be attached."""
    names = ("samples.csv", "data/a.fastq.gz", "ref/genome.fa", "params.json", "README", "sheet.v1.2.tsv")
    submissions.check(listed(place), Submission(
        "nf-core/demo", attachments={name: io.BytesIO(b"x") for name in names}))


@pytest.mark.parametrize("params", [
    {"custom_config_base": "https://example.org/"}, {"custom-config-base": "x"}, {"customConfigBase": "x"},
    {"input": "{place}/root/other/x/work/secret"}, {"input": "file://{place}/root/other/x"},
    {"input": "{place}/launches/other/x/samples.csv"}, {"input": ["{place}/launches/oth*/x"]},
    {"a": {"b": "../../other/x/samples.csv"}}, {"outdir": "{place}/pipelines/qc"},
    {"publish_dir": "{place}/elsewhere/../pipelines/new"},
    {"input": "file://localhost{place}/root/other/x"}, {"input": "a.csv,{place}/root/other/x"},
    {"input": "a.csv {place}/launches/other/x"}, {"input": "{{place}/root/other,/y}/*.x"},
    {"input": "{place}/ro*t/other/x"}, {"input": "{place}/*/other/**"}, {"input": "{place}"}, {"input": "/"},
    {"input": "/proc/1/root{place}/root/other/x"}, {"input": "/proc/self/environ"},
    {"input": "/etc/../proc/1"}, {"input": "//proc/self/environ"}, {"input": "/{place}/root/other/x"},
    {"input": "{place}/link/../root/other/x"}, {"input": "a,{place}/link/../root/other/x"},
    {"input": "{place}/link/../launches/other/x/*.csv"}, {"outdir": "{place}/link/../pipelines/qc"},
    {"input": "{place}/home/.pgpass"}, {"outdir": "{place}/home/.ssh"}, {"input": "{place}/home"},
    {"input": "{place}/home/*/credentials"}, {"input": "{place}/home/.aws/credentials"},
    {"input": "file:../../../../other/x/samples.csv"}, {"input": "x,file:../../../../other/x"},
    {"input": "{place}/nfresume.toml"}, {"input": "{place}/state.db"}, {"input": "{place}/secrets/key"},
    {"input": "{place}/state.db-wal"}, {"input": "{place}/state.db-shm"},
    {"input": "{place}/state.db-journal"},
    {"input": "{place}/free/a[b/../../root/other/x"}, {"input": "{place}/free/a{b}/../../root/other/x"},
    {"input": "~/.aws/credentials"}, {"input": "file://~/.pgpass"}, {"input": "file://../../other/x/s.csv"},
    {"input": "b.csv,{place}/free/a b/../../launches/other/s.csv"}, {"outdir": "${launchDir}/../../new"},
    {"input": "${launchDir}/../../other/new.csv"}, {"outdir": "${projectDir}/conf"},
    {"input": '["\\u002fproc\\u002fself\\u002fenviron"]'}, {"input": '{"a": ["{place}\\/launches\\/other"]}'},
    {"input": "[{place}/launches/other/s.csv]"}, {"input": "${projectDir}/../../elsewhere/x"},
    {"input": "${baseDir}/.."},
    {"input": f"{'/.' * 3000}{{place}}/root/other/x"}, {"input": " ".join(f"a/{n}" for n in range(2000))},
])
def test_parameters_that_are_refused(
    place: Path, params: dict[str, object], monkeypatch: pytest.MonkeyPatch
):
    """A parameter names no configuration, no file of another account, and no output among the pipelines."""
    def put(value: object) -> object:
        if isinstance(value, str):
            return value.replace("{place}", str(place))
        if isinstance(value, list):
            return [put(each) for each in value]
        return {k: put(v) for k, v in value.items()} if isinstance(value, dict) else value

    monkeypatch.setenv(settings.CONFIG_ENV, str(place / "nfresume.toml"))
    monkeypatch.setenv("HOME", str(place / "home"))
    (place / "launches/other").mkdir(parents=True)
    (place / "launches/other/s.csv").touch()
    given = put(params)
    assert isinstance(given, dict)
    conf = replace(listed(place), database_url=f"sqlite:///{place}/state.db", task_secrets=place / "secrets")
    with pytest.raises(UsageError):
        boundary.check_param_values(conf, given, place / "launches/team/run-1")


def test_what_is_hidden_in_the_home_of_an_accounts_user(place: Path, monkeypatch: pytest.MonkeyPatch):
    """With `run_as` a pipeline could read the keys of the account's user, which its editors may not see."""
    uid = os.getuid() or 54_321
    home = place / "users/genomics"
    home.mkdir(parents=True)
    os.chown(home, uid, -1)
    entry = pwd.struct_passwd(("genomics", "x", uid, uid, "", str(home), ""))
    monkeypatch.setattr(pwd, "getpwuid", lambda _: entry)
    conf = replace(listed(place), run_as=(RunAs("*", str(uid)),))
    launch_dir = place / "launches/team/run-1"
    boundary.check_param_values(conf, {"input": f"{home}/reads/a.fq"}, launch_dir)
    for path in (f"{home}/.ssh/id_rsa", str(home)):
        with pytest.raises(UsageError, match="hidden file"):
            boundary.check_param_values(conf, {"input": path}, launch_dir)


def test_parameters_that_are_allowed(place: Path, monkeypatch: pytest.MonkeyPatch):
    """Own files, the site's references, URLs and plain values are parameters."""
    monkeypatch.setenv("HOME", str(place / "home"))
    boundary.check_param_values(listed(place), {
        "input": "samples.csv", "outdir": "results", "reference": f"{place}/pipelines/qc/ref.fa", "n": 3,
        "before": f"{place}/launches/team/run-0/results/x.csv", "url": "https://example.org/a/b",
        "text": "a/b c", "unit": "counts / million", "glob": "data/*.fastq", "bucket": "s3://b/k/*.bam",
        "list": f"a.csv,{place}/launches/team/run-0/b.csv", "regex": "[^/]+/(?<x>a|b)",
        "home": f"{place}/home/data/x.csv", "logo": "${projectDir}/assets/*.png",
        "outdir2": "${launchDir}/results",
    }, place / "launches/team/run-1")


@pytest.mark.parametrize("text", [
    "a,{place}/root/other/x/reads.fq", "a,../../other/x/reads.fq", "{place}/nfresume.toml",
    "x\t/proc/1/environ", "a,{place}/home/.pgpass", "a,{place}/home/.aws/credentials",
    "a,file://{place}/root/other/x", "a;{place}/launches/other/r/b.csv", "a,{place}/link/../root/other/x/b",
    "a,file:../../../../other/x/reads.fq", "a,{place}/free/a[b/../../launches/other/s.csv",
    "a,{place}/launches/team/..", "a,{place}/lau*/other/s.csv", "a,{place}/launches/oth{e,f}r/s.csv",
    'a,"{place}/free/a,b/../../launches/other/s.csv"', "a\t{place}/free/a b/../../launches/other/s.csv",
    "{place}/free/x /../launches/other/s.csv", "a,~/.aws/credentials",
    "- reads: [{place}/launches/other/s.csv]", "- reads: [../../other/s.csv]",
    "R1:{place}/launches/other/s.csv",
    "a,jar:file:{place}/launches/other/s.zip!/x", "a,jar:file://{place}/launches/other/s.zip!/x",
    '[{"reads": "\\u002fproc\\/1\\u002Fenviron"}]', '- reads: "\\x2fpr\\U0000006fc/1/environ"',
    '- reads: "/pr\\\n    oc/1/environ"',
])
def test_files_of_others_in_attached_files(place: Path, text: str, monkeypatch: pytest.MonkeyPatch):
    """An attached sample sheet names no files of other accounts, wherever they stand in it."""
    monkeypatch.setenv(settings.CONFIG_ENV, str(place / "nfresume.toml"))
    monkeypatch.setenv("HOME", str(place / "home"))
    launch_dir = place / "launches/team/run-1"
    for folder in (launch_dir, place / "launches/other"):
        folder.mkdir(parents=True)
    (place / "launches/other/s.csv").touch()
    sheet = launch_dir / "samples.csv"
    sheet.write_text(f"sample,reads\n{'b,data/b.fq ' * 100_000}\n{text.replace('{place}', str(place))}\n")
    with pytest.raises(UsageError, match=r"samples.csv names a file"):
        boundary.check_files(listed(place), [sheet], launch_dir)
    sheet.write_text(f"sample,reads,\0note\n{text.replace('{place}', str(place))}\n")
    with pytest.raises(UsageError, match=r"samples.csv names a file"):
        boundary.check_files(listed(place), [sheet], launch_dir)
    own = f"{place}/launches/team/run-0/x.fq,{place}/home/x.fq"
    sheet.write_text(f"sample,reads\na,data/a.fq,{own},https://example.org/{place}/root\n")
    boundary.check_files(listed(place), [sheet], launch_dir)


def test_reads_with_their_qualities(place: Path, monkeypatch: pytest.MonkeyPatch):
    """A quality has any characters, and looks like paths by chance. Titles count, and any other line."""
    monkeypatch.setenv(settings.CONFIG_ENV, str(place / "nfresume.toml"))
    launch_dir = place / "launches/team/run-1"
    launch_dir.mkdir(parents=True)
    chance = random.Random(1)
    reads = "".join(f"@r{n}\n{'ACGTN' * 20}\n+\n{''.join(map(chr, chance.choices(range(33, 127), k=100)))}\n"
                    for n in range(10_000))
    file = launch_dir / "reads.fastq"
    file.write_text(reads)
    boundary.check_files(listed(place), [file], launch_dir)
    for text in (reads.replace("@r9999\n", "@r9999 /proc/1/environ\n"), f"{reads}/proc/1/environ\n",
                 reads + "@r\nACGT\n+\n/proc/1/environ\n"):
        file.write_text(text)
        with pytest.raises(UsageError, match=r"reads.fastq names a file|reads.fastq names files"):
            boundary.check_files(listed(place), [file], launch_dir)


@pytest.mark.parametrize("url", [
    "http://good@127.0.0.1/", "http:/\\127.0.0.1/", "http:\\\\127.0.0.1", "ht\ttp://127.0.0.1/",
    "http:/127.0.0.1/",
    "http://127.0.0.1%2f@example.org/", "jar:http://127.0.0.1!/x", "http://192.168.0.1,http://example.org",
    "http://127.0.0.1\nabc", "http://[64:ff9b::7f00:1]/", "http://[2002:7f00:1::]/", "http://[::ffff:7f00:1]/",
    "http://2130706433/", "http://0177.0.0.1/", "http://LOCALHOST./",
    "http://①②⑦.⓪.⓪.①/", "http://[fd00:ec2::254]/",
    "http://a@b@127.0.0.1/", "git+ssh://10.0.0.1/x", "http://169.254.169.254?x", "http://127.0.0.1#x",
    '["http:\\u002f\\u002f127.0.0.1"]', "http://example.org;@127.0.0.1/", "http://example.org\\@127.0.0.1/",
    "http://example.org ,'@127.0.0.1/", "http://example.org\t;@127.0.0.1:80/",
    "http://127.0.0.1\\@example.org/", "http://example.org;@127.0.0.1@198.51.100.300/", "gopher://127.0.0.1/",
])
def test_urls_that_programs_read_in_other_ways(url: str):
    """Whatever a browser, curl, Java or Python could take for the host, it is a public one."""
    with pytest.raises(UsageError):
        boundary.hosts.check({"input": [url]})


def test_urls_in_attached_files(place: Path):
    """An attached sample sheet that names an inner host is refused, wherever the URL stands in it."""
    file = place / "samples.csv"
    file.write_bytes(b"sample,url\n" + b"x" * (2**20 - 20) + b"\na,http://169.254.169.254/latest\n")
    with pytest.raises(UsageError, match=r"169\.254"):
        boundary.hosts.check_files([file])
    file.write_bytes(b"sample,url,\0note\na,http://169.254.169.254\0,\n")
    with pytest.raises(UsageError, match=r"169\.254"):
        boundary.hosts.check_files([file])
    file.write_bytes(rb'[{"reads": "ht\u0074p:\/\u002f169.254.169.254\/latest"}]')
    with pytest.raises(UsageError, match=r"169\.254"):
        boundary.hosts.check_files([file])
    file.write_bytes(b"sample,url\na,\"http://198.51.100.300;,x\t@169.254.169.254/latest\"\n")
    with pytest.raises(UsageError, match=r"169\.254"):
        boundary.hosts.check_files([file])
    file.write_bytes(b"a,https://198.51.100.7/x\n")
    with pytest.raises(UsageError):
        boundary.hosts.check_files([file])
    file.write_bytes(b"a,https://8.8.8.8/x\n")
    boundary.hosts.check_files([file])


def test_a_pattern_from_the_root_in_attached_files(place: Path):
    """An attached sheet reaches no other account by a pattern from `/`, or by alternatives there."""
    launch_dir = place / "launches/team/run-1"
    launch_dir.mkdir(parents=True)
    sheet = launch_dir / "samples.csv"
    top, _, rest = str(place).strip("/").partition("/")
    for pattern in (f"/{top[:-1]}?/{rest}", f"/{{nowhere,{top}}}/{rest}", f"/{top}/*/../{rest}"):
        sheet.write_text(f"sample,reads\na,{pattern}/launches/other/s.csv\n")
        with pytest.raises(UsageError, match=r"samples.csv names a file"):
            boundary.check_files(listed(place), [sheet], launch_dir)
    sheet.write_text("@read/1 a/../../b /../c\nACGT\n+\n/?*A/[{.,/../x,/..,/*/A,/{A,B}\n")
    boundary.check_files(listed(place), [sheet], launch_dir)


def test_data_name_nothing_by_chance(place: Path):
    """20 MB of random bytes, as of a compressed file, may be attached."""
    launch_dir = place / "launches/team/run-1"
    launch_dir.mkdir(parents=True)
    data = launch_dir / "reads.bam"
    data.write_bytes(b"\0" + random.Random(7).randbytes(20_000_000) + b" // /. /.. //\0/ ")
    boundary.check_files(listed(place), [data], launch_dir)
    boundary.hosts.check_files([data])


def test_json_of_many_values():
    """JSON that is short and would take gigabytes in memory is refused before it is parsed."""
    with pytest.raises(UsageError, match="200,000 values"):
        submissions.parse_params('{"a": [' + "{}," * 300_000 + "{}]}")
