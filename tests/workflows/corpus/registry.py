# result: "registry needs the service"
from latch.account import Account
from latch.registry.project import Project
from latch.registry.record import Record
from latch.registry.table import Table
from latch import small_task, workflow

TABLE = Table(id="1")


@small_task
def asks() -> str:
    try:
        with TABLE.update() as update:
            update.upsert_record("a", n=1)
    except Exception:
        return "registry needs the service"
    return "no error"


@workflow
def flow() -> str:
    return asks()
