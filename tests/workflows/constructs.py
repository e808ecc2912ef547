"""Every construct of the graph that Latch's and Flyte's files use."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Dict, List, NamedTuple, Optional, Tuple

from flytekit import Resources, dynamic
from latch.resources.conditional import create_conditional_section
from latch.resources.map_tasks import map_task
from latch.resources.tasks import small_task
from latch.resources.workflow import workflow
from tests_ran import ran


class Ends(NamedTuple):
    low: int
    high: int


@dataclass
class Sample:
    name: str
    size: int = 1


@small_task
def count(n: int) -> int:
    ran("count", n)
    return n


@small_task
def double(n: int) -> int:
    ran("double", n)
    return 2 * n


@small_task
def fails(n: int) -> int:
    ran("fails", n)
    raise ValueError(f"no luck with {n}")


@small_task
def ends(n: int) -> Ends:
    return Ends(low=0, high=n)


@small_task
def pair(n: int) -> Tuple[int, str]:
    return n, str(n)


@small_task
def sample(n: int) -> Sample:
    return Sample(f"s{n}", n)


@small_task
def total(values: List[int]) -> int:
    return sum(values)


@small_task
def maybe(n: int) -> Optional[int]:
    return n or None


@workflow
def inner(n: int) -> int:
    return double(n=double(n=n))


@workflow
def choose(n: int) -> int:
    """The first condition that is true decides. Calls of other branches do not run."""
    counted = count(n=n)
    chosen = (
        create_conditional_section("size")
        .if_(counted == 1).then(double(n=10))
        .elif_((counted > 1) & (counted <= 3)).then(inner(n=n))
        .elif_(counted == 9).fail("nine is too many")
        .else_().then(counted)
    )
    return double(n=chosen)


@workflow
def flags(n: int) -> List[int]:
    found = maybe(n=n)
    one = create_conditional_section("none").if_(found.is_none()).then(count(n=-1)).else_().then(count(n=-2))
    two = create_conditional_section("true").if_(found.is_true()).then(count(n=-3)).else_().then(count(n=-4))
    nested = (create_conditional_section("outer").if_(found.is_false()).then(
        create_conditional_section("inner").if_(n == 0).then(count(n=5)).else_().then(count(n=6))
    ).else_().then(count(n=7)))
    return [one, two, nested]


@dynamic
def many(n: int) -> List[int]:
    if n > 2:
        return [double(n=i) for i in range(n)]
    return [n]


@dynamic
def recursive(n: int) -> int:
    if n <= 0:
        return count(n=0)
    first = double(n=n)
    return total(values=[first, recursive(n=n - 1)])


@workflow
def grows(n: int) -> Dict[str, int]:
    counted = count(n=n)
    return {"many": total(values=many(n=counted)), "recursive": recursive(n=counted)}


@workflow
def outputs(n: int) -> List[int]:
    found, both, one = ends(n=n), pair(n=n), sample(n=n)
    low, high = found
    return [found.o0, found.o1, found.high, low, high, both.o0, both[0], one.size, count(n=n).o0]


@workflow
def maps(n: int) -> List[int]:
    first = map_task(count)(n=list(range(n)))
    second = map_task(double)(n=first)
    return [total(values=map_task(double)(n=second)), second[1]]


@workflow
def ordered(n: int) -> int:
    first, second = count(n=n), double(n=n)
    first >> second
    return second


@workflow
def overridden(n: int) -> int:
    return count(n=n).with_overrides(requests=Resources(cpu="500m", mem="64Mi"), retries=1)


@workflow
def prints(n: int) -> int:
    counted = count(n=n)
    print("counted:", counted, counted == 3, file=sys.stderr)
    return counted


@workflow
def branches_on_a_promise(n: int) -> int:
    counted = count(n=n)
    if counted == 3:
        return double(n=counted)
    return counted


@workflow
def tests_a_promise(n: int) -> int:
    return count(n=1) if count(n=n) else count(n=2)


@workflow
def looks_into_a_promise(n: int) -> bool:
    return 3 in count(n=n)


@workflow
def is_in_a_list(n: int) -> bool:
    return count(n=n) in [1, 2, 3]


@workflow
def formats_a_promise(n: int) -> str:
    return f"sample-{count(n=n)}"


@workflow
def joins_a_promise(n: int) -> str:
    return "sample-" + str(count(n=n))


@workflow
def calls_a_method(n: int) -> str:
    return count(n=n).bit_length()


@workflow
def opens_a_promise(n: int) -> str:
    return open(count(n=n)).read()


@workflow
def changes_a_promise(n: int) -> int:
    count(n=n).size = 3


@workflow
def changes_an_item(n: int) -> int:
    count(n=n)[0] = 3


@workflow
def computes_with_a_promise(n: int) -> int:
    return count(n=n) + 1


@workflow
def without_end(n: int) -> int:
    return create_conditional_section("open").if_(count(n=n) == 1).then(count(n=2)).elif_(n == 2).then(n)


@workflow
def fails_inside(n: int) -> int:
    return create_conditional_section("f").if_(count(n=n) == 1).then(fails(n=n)).else_().then(count(n=5))
