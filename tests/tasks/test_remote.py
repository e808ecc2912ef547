"""Remote inputs and outputs, against moto's server for S3."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from nfresume.tasks import latch_data, s3, standins
from tests import aws
from tests.conftest import Site
from tests.tasks.conftest import fix, put, ran


@pytest.fixture
def bucket(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of a server with one bucket, which the site's boto3 uses, too."""
    with aws.aws() as env:
        site.env.update(env)
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        s3._client_of.cache_clear()
        client = aws.client("s3", env)
        httpx.post(f"{env['AWS_ENDPOINT_URL']}/moto-api/reset")  # it keeps its buckets in this process
        create(client, "bucket")
        put(site, "tests_ran.py")
        put(site, "remote_files.py")
        yield client
    s3._client_of.cache_clear()


def create(client: Any, name: str) -> None:
    client.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": aws.REGION})


def names(client: Any) -> list[str]:
    return [each["Key"] for each in client.list_objects_v2(Bucket="bucket").get("Contents", [])]


def test_inputs(site: Site, bucket: Any):
    """Files and folders are downloaded once for all tasks. A task that edits its input edits its own copy."""
    for key, text in {"a.txt": "one\n", "in/x.txt": "x", "in/deep/y.txt": "yy"}.items():
        bucket.put_object(Bucket="bucket", Key=key, Body=text.encode())
    done = site.ok("launch", "--pin", "remote_files.py:reads", "--file", "s3://bucket/a.txt", "--folder",
                   "s3://bucket/in")
    assert json.loads(done.out) == ["one", "oneone", [
        "LatchDir deep", "LatchFile x.txt", "3", "deep/y.txt=yy", "x.txt=x"]]
    work = site.root / "team" / site.show()["id"] / "work"
    said = "".join(each.read_text() for each in work.glob("*/*/.command.err"))
    assert said.count("downloaded s3://bucket/a.txt: 4 bytes in") == 1
    assert said.count("downloaded s3://bucket/in: 3 bytes in") == 1
    assert [p.read_text() for p in (work / ".downloads").glob("*/a.txt")] == ["one\n"]
    assert bucket.get_object(Bucket="bucket", Key="a.txt")["Body"].read() == b"one\n"


@pytest.mark.long
def test_the_cache_knows_versions(site: Site, bucket: Any):
    """An object that changed is another input. One that did not is the same in each execution."""
    bucket.put_object(Bucket="bucket", Key="a.txt", Body=b"one\n")
    words = ("launch", "remote_files.py:line", "--file", "s3://bucket/a.txt")
    assert [site.ok(*words).out for _ in range(2)] == ['"one"\n'] * 2
    assert ran(site) == ["first_line 1"]
    bucket.put_object(Bucket="bucket", Key="a.txt", Body=b"two\n")
    assert site.ok(*words).out == '"two"\n'


def test_outputs_after_success(site: Site, bucket: Any):
    """A run that fails uploads nothing. Its relaunch uploads the results of all its tasks."""
    script = site.launch_dir / "remote_files.py"
    assert site.run("launch", "--storage-expiration-hours", "1", "remote_files.py:writes", "--text",
                    "bad").code == 1
    assert names(bucket) == []
    fix(script, '        raise ValueError("bad text")', "        pass")
    done = site.ok("relaunch", site.show()["id"])
    assert done.out == "3\n"
    assert names(bucket) == ["out/a.txt", "out/by-hand.txt", "out/folder/deep/b.txt"]
    assert not (site.launch_dir / "results").exists()


def test_links_in_a_folder_are_uploaded_as_files(tmp_path: Path, bucket: Any):
    """S3 has no links: what they lead to is there under both names. What cannot be uploaded is an error."""
    folder = tmp_path / "folder"
    (folder / "v2/deep").mkdir(parents=True)
    (folder / "v2/deep/a.txt").write_text("abc")
    (folder / "latest").symlink_to("v2")
    (folder / "first.txt").symlink_to("v2/deep/a.txt")
    assert s3.upload(folder, "s3://bucket/out/") == 9
    assert names(bucket) == ["out/first.txt", "out/latest/deep/a.txt", "out/v2/deep/a.txt"]
    (folder / "v2/loop").symlink_to("..")
    with pytest.raises(OSError, match="a link to a folder that contains it"):
        s3.upload(folder, "s3://bucket/again")
    (folder / "v2/loop").unlink()
    os.mkfifo(folder / "pipe")
    with pytest.raises(OSError, match="pipe is neither file nor folder"):
        s3.upload(folder, "s3://bucket/again")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.txt")).write_text("named in another code")
    with pytest.raises(OSError, match=r"\\xff.txt': a key of S3 is UTF-8"):
        s3.upload(Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.txt")), "s3://bucket/again/")


def test_an_upload_that_fails(site: Site, bucket: Any):
    """It fails the run, with one line. The relaunch only uploads."""
    fix(site.launch_dir / "remote_files.py", 's3://bucket/out/a.txt"', 's3://later/out/a.txt"')
    done = site.run("launch", "--storage-expiration-hours", "1", "remote_files.py:writes", "--text", "ok")
    assert done.code == 1
    assert "a result cannot be uploaded: s3://later/out/a.txt: " in site.show()["attempts"][0]["error"]
    create(bucket, "later")
    assert "2 tasks reused" in site.ok("relaunch", site.show()["id"]).err


@pytest.mark.parametrize(("url", "why"), [
    ("latch:///a.fastq", "is on Latch: install latch and log in with it, or give a copy of it"),
    ("gs://bucket/a", "cannot be downloaded: copy it, for example to s3://"),
])
def test_what_cannot_be_reached_is_refused(site: Site, bucket: Any, url: str, why: str):
    """It is refused before anything starts, by the parameter's name. A place for output may be anywhere."""
    done = site.run("launch", "remote_files.py:line", "--file", url, HOME=str(site.base))
    assert (done.code, f"--file: {url} {why}" in done.err) == (64, True), done.err
    bucket.put_object(Bucket="bucket", Key="a.txt", Body=b"one\n")
    words = ("launch", "remote_files.py:sample", "--out", "latch:///results", "--sample")
    done = site.run(*words, json.dumps({"name": "s", "reads": [url]}), HOME=str(site.base))
    assert (done.code, f"--sample: {url} {why}" in done.err) == (64, True), done.err
    assert site.ok("list", "--json").json() == []
    site.ok(*words, json.dumps({"name": "s", "reads": ["s3://bucket/a.txt"]}), HOME=str(site.base))


def test_a_default_that_cannot_be_reached(site: Site, bucket: Any):
    """Many files of Latch name their place for output so. It is told, and only opening it is an error."""
    done = site.ok("launch", "remote_files.py:placed", HOME=str(site.base))
    assert json.loads(done.out) == str(site.launch_dir / "results/top/run/a.txt")
    assert "the default of --out: latch:///top/ is on Latch" in done.err
    assert (site.launch_dir / "results/top/run/a.txt").read_text() == "a"
    done = site.run("launch", "remote_files.py:placed", "--mask", "true", HOME=str(site.base))
    assert (done.code, "latch:/// is on Latch: install latch" in done.err) == (1, True), done.err


def test_an_object_that_does_not_exist(site: Site, bucket: Any):
    """The message names it."""
    done = site.run("launch", "remote_files.py:line", "--file", "s3://bucket/absent.txt")
    assert (done.code, "s3://bucket/absent.txt does not exist" in done.err) == (1, True), done.err


@pytest.fixture
def broken(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The ranges that were asked of a server that ends each answer after 300 kB."""
    asked: list[str] = []
    real = os.environ["AWS_ENDPOINT_URL"]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _forward(self, send: int | None) -> None:
            headers = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "connection")}
            answer = httpx.request(self.command, real + self.path, headers=headers)
            self.send_response(answer.status_code)
            for name, value in answer.headers.items():
                if name.lower() not in ("connection", "transfer-encoding"):
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.content[:send])
            self.close_connection = True

        def do_HEAD(self) -> None:
            self._forward(0)

        def do_GET(self) -> None:
            asked.append(self.headers["Range"])
            self._forward(300_000)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    s3._client_of.cache_clear()
    yield asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_broken_download_is_continued(tmp_path: Path, bucket: Any, broken: list[str]):
    """Each try asks for what is missing. After five tries it fails; the next one goes on from there."""
    data = os.urandom(1_700_000)
    bucket.put_object(Bucket="bucket", Key="big", Body=data)
    found = s3.look("s3://bucket/big")
    assert found is not None
    with pytest.raises(OSError, match="s3://bucket/big"):
        s3.download(found, tmp_path / "big")
    assert not (tmp_path / "big").exists()
    s3.download(found, tmp_path / "big")
    assert hashlib.md5((tmp_path / "big").read_bytes()).digest() == hashlib.md5(data).digest()
    assert broken == [f"bytes={300_000 * at}-" for at in range(6)]


@pytest.mark.parametrize("parts", [1, 2])
def test_a_download_is_verified(tmp_path: Path, bucket: Any, parts: int):
    """A rest of a download that does not fit is not continued to a wrong file; also for uploads in parts."""
    data = os.urandom(6 << 20)
    if parts == 1:
        bucket.put_object(Bucket="bucket", Key="big", Body=data)
    else:
        upload = bucket.create_multipart_upload(Bucket="bucket", Key="big")["UploadId"]
        done = [{"PartNumber": n + 1, "ETag": bucket.upload_part(
            Bucket="bucket", Key="big", UploadId=upload, PartNumber=n + 1,
            Body=data[n * (5 << 20):(n + 1) * (5 << 20)])["ETag"]} for n in range(2)]
        bucket.complete_multipart_upload(Bucket="bucket", Key="big", UploadId=upload,
                                         MultipartUpload={"Parts": done})
    found = s3.look("s3://bucket/big")
    assert found is not None
    target = tmp_path / "big"
    s3.download(found, target)
    assert target.read_bytes() == data
    target.unlink()
    version = hashlib.sha256(found.etag.encode()).hexdigest()[:16]
    (tmp_path / f".big.{version}.part").write_bytes(b"wrong" + data[5:1000])
    with pytest.raises(OSError, match="another checksum"):
        s3.download(found, target)
    s3.download(found, target)
    assert target.read_bytes() == data


def test_an_object_that_changes_meanwhile(tmp_path: Path, bucket: Any):
    """The old version is not continued with the new one."""
    bucket.put_object(Bucket="bucket", Key="a", Body=b"old old old")
    found = s3.look("s3://bucket/a")
    assert found is not None
    bucket.put_object(Bucket="bucket", Key="a", Body=b"new new new")
    with pytest.raises(OSError, match="s3://bucket/a"):
        s3.download(found, tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_a_folder_of_latch_without_latch():
    """A task that makes such a URL itself is told what it needs."""
    if latch_data.importlib.util.find_spec("latch") is not None:
        pytest.skip("latch is installed here")
    with standins.installed(), pytest.raises(OSError, match="latch:///folder is on Latch: install latch"):
        latch_data.children("latch:///folder")
