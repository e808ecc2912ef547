"""Pages of tasks in the console and in WES, also of an execution with 100,000 tasks that runs."""

from __future__ import annotations

import re
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from nfresume import settings
from nfresume.domain.people import Role
from nfresume.nextflow import evidence, record, record_file
from nfresume.nextflow.record import Status, Task
from nfresume.runs import task_index
from nfresume.service.identity import Identity
from nfresume.storage import Root
from nfresume.store import Store, transitions
from nfresume.store.transitions import NewAttempt, NewExecution, Owner
from nfresume.web import app, frames
from nfresume.web.frames import SECTIONS
from tests.conftest import bytes_read, until
from tests.integration.web.test_web import log_in

PAGE = "/a/team/executions/run-1"
WES = "/ga4gh/wes/v1/runs/run-1"
#: Pages of an execution that answer in 0.1 s with 100,000 tasks, on a machine that is otherwise idle.
PATHS = ("", "/tasks", "/tasks?sort=name", "/tasks?sort=longest", "/tasks?text=ple_77",
         "/tasks?state=completed", "/tasks?process=P_7", "/tasks/1/77777", "/graph", "/log", "/results",
         "/storage", "/history")


class Web:
    """The console with a running execution, and a browser that is logged in."""

    def __init__(self, base: Path) -> None:
        conf = settings.load({
            "NFRESUME_DATABASE_URL": f"sqlite:///{base / 's.db'}", "NFRESUME_ACCOUNT": "team",
            "NFRESUME_ROOT": str(base / "root"), "NFRESUME_WEB_LAUNCHES": str(base / "launches")})
        self.store = Store.open(conf.database_url)
        root = Root.mark(base / "root")
        folder = self.folder = root.execution("team", "run-1")
        with self.store.begin() as tx:
            transitions.register_root(tx, root.id, str(root.path), root.inode)
            transitions.launch(tx, NewExecution(
                "run-1", "team", root.id, str(folder.work), "m.nf", str(base), str(uuid.uuid4()), 0.0, "t",
                False), NewAttempt("m.nf", (), False, None, "24.10.5"), "me")
            transitions.claim(tx, "run-1", Owner(conf.host, "b"), 3000)
        folder.provision(1)
        self.attempt = folder.attempt(1)
        self.writer = record_file.Writer(record_file.path_of(self.attempt, 1))
        identity = Identity(self.store)
        identity.add_user("ada")
        identity.set_role("ada", "team", Role.OWNER)
        self.client = TestClient(app.create(conf, self.store), base_url="http://127.0.0.1")
        log_in(self.client, identity.login_link("ada"))
        self.token = {"Authorization": f"Bearer {identity.create_token('ada', 't', 'team', 1)}"}

    def write(self, *lines: record.Line) -> None:
        for line in lines:
            self.writer.write(line)
        self.writer.flush()

    def page(self, path: str = "", **words: object) -> str:
        answer = self.client.get(PAGE + path, params=words or None)
        assert answer.status_code == 200
        return answer.text

    def wes(self, path: str, **words: object) -> object:
        answer = self.client.get(WES + path, params=words, headers=self.token)
        assert answer.status_code == 200, answer.text
        return answer


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    made = Web(tmp_path)
    yield made
    made.store.close()


def test_tasks_in_pages(web: Web):
    """The newest first, 100 at a time, by state, process and text; what is new shows in the next request."""
    web.write(*(Task(n, f"A (sample_{n})", Status.COMPLETED, "ab/cdef01", f"ab/cdef01{n:024x}", exit=0)
                for n in range(1, 501)))
    first = web.page("/tasks")
    assert "1 to 100 of 500" in first
    assert first.index("A (sample_500)") < first.index("A (sample_401)")
    assert "A (sample_400)" not in first
    assert "401 to 500 of 500" in web.page("/tasks", after=400)
    assert "A (sample_77)" in web.page("/tasks", text="e_77")
    assert "A (sample_76)" not in web.page("/tasks", text="e_77")
    assert "completed (500)" in first
    started = Task(501, "B <b>", Status.RUNNING, "cd/000001")
    web.write(started, started._replace(status=Status.FAILED, was="RUNNING", error="it broke", exit=3))
    failed = web.page("/tasks", state="failed")
    assert "B &lt;b&gt;" in failed
    assert "1 to 1 of 1" in failed
    assert "B <b>" not in failed
    assert "it broke" in web.page()
    assert "sample" not in web.page("/tasks", process="B <b>").split('id="tasks"')[1]
    for sort in task_index.SORTS:
        assert "1 to 100 of 501" in web.page("/tasks", sort=sort)


def test_a_page_for_a_task(web: Web):
    """Its script, output, inputs with their producers, users, results and cause: as text, escaped."""
    work = web.folder.work
    make, use = f"ab/{'1' * 30}", f"cd/{'2' * 30}"
    for name, script in ((make, "#!/bin/bash\necho '<b>'"), (use, "#!/usr/bin/env python\nimport os")):
        (work / name).mkdir(parents=True)
        (work / name / ".command.sh").write_text(script)
    (work / make / ".command.out").write_text("<script>alert(1)</script>\x1b[2J")
    (work / make / "made.txt").write_text("12345")
    (work / make / ".command.trace").write_text("nextflow.trace/v2\n%cpu=985\npeak_rss=2048\nrchar=x\n")
    web.write(
        record.Header(work=str(work)),
        Task(1, "MAKE <i>", Status.COMPLETED, make[:9], make, exit=0, submitted=1_795_654_800_000,
             started=1_795_654_801_000, completed=1_795_654_802_500, container="ubuntu:<24>"),
        Task(2, "USE", Status.FAILED, use[:9], use, exit=1, error="it broke",
             inputs=((f"{work}/{make}/made.txt", 5, 1), ("/data/<x>.csv", -1, 0))),
        record.Published("/out/made.txt", f"{work}/{make}/made.txt", "link", make))
    maker, user = web.page("/tasks/1/1"), web.page("/tasks/1/2")
    for shown in ("MAKE &lt;i&gt;", "&lt;script&gt;alert(1)&lt;/script&gt;\\x1b[2J", "ubuntu:&lt;24&gt;",
                  "98.5 % of a CPU", "2.0 MiB", "made.txt", "5 Bytes", "/out/made.txt", "hl-",
                  "nothing had run before", "1.0 s until it began"):
        assert shown in maker, shown
    assert "<script>alert" not in maker
    assert f'href="{PAGE}/tasks/1/2">USE</a>' in maker
    assert f'href="{PAGE}/tasks/1/1">MAKE &lt;i&gt;</a>' in user
    assert "/data/&lt;x&gt;.csv" in user
    assert '<p class="notice bad">it broke</p>' in user
    assert web.client.get(f"{PAGE}/tasks/1/1/stdout").content == b"<script>alert(1)</script>\x1b[2J"
    for path in ("/tasks/1/3", "/tasks/2/1", "/tasks/1/1/passwd", "/tasks/1/x", "/tasks/0/1"):
        assert web.client.get(f"{PAGE}{path}").status_code in (404, 422), path
    for other in ("rivals", "ada"):
        assert web.client.get(f"/a/{other}/executions/run-1/tasks/1/1").status_code == 404
        assert web.client.get(f"/a/{other}/executions/run-1/tasks/1/1/stdout").status_code == 404
    shutil.rmtree(work / make)
    assert "Its task dir is gone" in web.page("/tasks/1/1")


def test_what_is_cut_is_said(web: Web):
    """Of a long output its end is shown, and of a long script its beginning, with a link to all of it."""
    work, name = web.folder.work, f"ab/{'1' * 30}"
    (work / name).mkdir(parents=True)
    (work / name / ".command.sh").write_text("#!/bin/bash\n" + "true # step\n" * 9000)
    (work / name / ".command.out").write_text("first\n" + "x\n" * 40_000 + "last\n")
    (work / name / ".command.err").write_text("e" * (24 * 1024))
    web.write(record.Header(work=str(work)), Task(1, "A", Status.FAILED, name[:9], name, exit=1))
    page = web.page("/tasks/1/1")
    assert "last\n" in page
    assert "first\n" not in page
    said = [f'This is its {part}. <a href="{PAGE}/tasks/1/1/{file}" download>'
            for part, file in (("end", "stdout"), ("beginning", "script"), ("end", "stderr"))]
    assert [text in page for text in said] == [True, True, False]  # what is whole is not said to be cut
    assert [text in web.page() for text in said] == [True, True, False]


def test_results_are_links(web: Web):
    """A published file is a link to its bytes; what was not published is not."""
    out, task = web.folder.path.parent.parent.parent / "results", f"ab/{'1' * 30}"
    out.mkdir()
    (out / "a b%.txt").write_text("published")
    (out / "secret.txt").write_text("not published")
    web.write(Task(1, "A", Status.COMPLETED, task[:9], task, exit=0),
              record.Published(f"{out}/a b%.txt", task=task), record.Published("s3://bucket/x"))
    page = web.page("/results")
    [link] = re.findall(r'href="([^"]+/result/1/[^"]+)"', page)
    assert web.client.get(link).text == "published"
    assert "attachment" in web.client.get(link).headers["content-disposition"]
    assert "s3://bucket/x" in page
    assert web.client.get(link.replace("a%20b%25", "secret")).status_code == 404
    assert web.client.get(link.replace("/a/team/", "/a/ada/")).status_code == 404


def test_every_section_answers(web: Web):
    """Each section of a running execution, with its headline; a tab says how many tasks there are."""
    web.write(Task(1, "A", Status.RUNNING, "ab/cdef01"), Task(2, "A", Status.COMPLETED, "ab/cdef02", exit=0))
    for path in ("", *(f"/{name}" for name, _ in SECTIONS if name)):
        page = web.page(path)
        assert "1 of 2 tasks done" in page, path
        assert "Tasks <small>2</small>" in page, path
        assert len(page) < 150_000
    assert web.client.get(f"{PAGE}/log", params={"attempt": 2}).status_code == 404


def test_tasks_of_wes(web: Web):
    """Each task once, with a unique id, times in UTC and its error; its output by its id."""
    web.write(*(Task(n, "A", Status.FAILED, "ab/cdef01", f"ab/cdef01{n:024x}", exit=n, error="why",
                     submitted=1_795_654_800_000, completed=1_795_654_801_500) for n in (1, 2, 3)))
    seen, token = [], ""
    while True:
        answer = web.wes("/tasks", page_size=2, page_token=token).json()
        seen += answer["task_logs"]
        if not (token := answer["next_page_token"]):
            break
    assert [task["id"] for task in seen] == [f"ab/cdef01{n:024x}" for n in (1, 2, 3)]
    one = seen[1]
    assert (one["start_time"], one["end_time"]) == ("2026-11-26T01:00:00Z", "2026-11-26T01:00:01Z")
    assert (one["exit_code"], one["system_logs"], one["system_state"]) == (2, ["why"], "FAILED")
    assert web.wes(f"/tasks/{seen[0]['id']}").json()["exit_code"] == 1
    assert web.client.get(f"{WES}/tasks/ff/ffffff", headers=web.token).status_code == 404


def test_kept_output_is_marked(web: Web):
    """The output of a task whose task dir is gone comes from the archive, and a header says so."""
    archive = evidence.Archive(web.attempt, 1)
    name = f"ab/{'1' * 30}"
    place = archive.add(evidence.pack(name, [evidence.Kept(".command.out", b"it said", 0)]))
    web.write(Task(1, "A", Status.FAILED, name[:9], name, evidence=place, exit=1))
    answer = web.wes(f"/task-logs/{name}/stdout")
    assert (answer.text, answer.headers["X-Kept"]) == ("it said", "yes")
    assert "this is what was kept of its files" in web.page()
    assert "it said" in web.page("/tasks/1/1")
    assert web.client.get(f"{PAGE}/tasks/1/1/stdout").text == "it said"


def test_a_large_record_that_was_not_read_before(web: Web, monkeypatch: pytest.MonkeyPatch):
    """A page does not wait for it: it says how much was read, and comes by itself."""
    web.write(*(Task(n, "A", Status.COMPLETED, "ab/cdef01", f"ab/cdef01{n:024x}", exit=0, error="e" * 200)
                for n in range(1, 20_001)))
    monkeypatch.setattr(frames, "_PATIENCE", 0.0)
    first = web.client.get(f"{PAGE}/tasks")
    assert (first.status_code, first.headers["Refresh"]) == (503, "1")
    assert re.search(r"The records of its tasks are being read: \d+%.", first.text)
    assert 'aria-label="Main"' in first.text
    until(lambda: web.client.get(f"{PAGE}/tasks").status_code == 200)
    assert "1 to 100 of 20,000" in web.page("/tasks")
    assert web.wes("/tasks", page_size=2).json()["next_page_token"] == "2"


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_hundred_thousand_tasks(web: Web, record_property):
    """Once the server knows the record, a page reads only what is new in it, also while tasks end."""
    started = [Task(n, f"P_{n % 40} (sample_{n})", Status.RUNNING, f"{n % 256:02x}/{n:06x}")
               for n in range(1, 100_001)]
    web.write(*started)
    web.write(*(task._replace(status=Status.COMPLETED, dir=f"{task.hash[:2]}/{task.n:030x}", was="RUNNING",
                              exit=0, submitted=1, completed=1000) for task in started))
    until(lambda: web.client.get(PAGE).status_code == 200, 200)
    size = record_file.path_of(web.attempt, 1).stat().st_size
    for path in PATHS:
        took, before = [], bytes_read()
        for number in range(5):
            first = 200_000 + number * 100
            web.write(*(Task(first + n, "LATE", Status.RUNNING, "ab/cdef01") for n in range(100)))
            begun = time.process_time()
            page = web.page(path)
            took.append(time.process_time() - begun)
            assert len(page) < 150_000, path
        record_property(f"milliseconds of {path or '/'}", 1000 * sorted(took)[2])
        assert bytes_read() - before < size / 10, path
