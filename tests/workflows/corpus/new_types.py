# result: ["a,b", 3, null, "k=1", 2]
# inputs: --names '["a", "b"]'
from latch import small_task, workflow


@small_task
def shows(names: list[str], both: tuple[int, int], maybe: int | None, table: dict[str, int],
          either: int | str) -> list[str | int | None]:
    pairs = ",".join(f"{k}={v}" for k, v in table.items())
    return [",".join(names), sum(both), maybe, pairs, either]


@workflow
def flow(names: list[str], both: tuple[int, int] = (1, 2), maybe: int | None = None,
         table: dict[str, int] = {"k": 1}, either: int | str = 2) -> list[str | int | None]:
    return shows(names=names, both=both, maybe=maybe, table=table, either=either)
