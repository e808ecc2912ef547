# result: ["[User(name=None, handle='h', size=<Size.big: 'b'>)]", "{\"name\": \"n\", \"handle\": null, \"size\": \"b\"}", "True"]
# inputs: --users '[{"handle": "h", "size": "b"}]'
"""Dataclasses with the decorators of dataclasses_json and mashumaro, which come with latch (flyte#5569)."""

from dataclasses import dataclass
from enum import Enum
from typing import List, Optional

from dataclasses_json import DataClassJsonMixin, dataclass_json
from flytekit import task, workflow
from mashumaro.mixins.json import DataClassJSONMixin


class Size(Enum):
    small = "s"
    big = "b"


@dataclass_json
@dataclass
class User:
    name: Optional[str] = None
    handle: Optional[str] = None
    size: Size = Size.small


@dataclass
class Mixed(DataClassJsonMixin):
    users: List[User]


@dataclass
class Also(DataClassJSONMixin):
    n: int = 1


@task
def same(users: List[User]) -> List[User]:
    return users


@task
def shown(users: List[User]) -> str:
    return repr(users)


@task
def as_json(user: User) -> str:
    return user.to_json()


@task
def back(text: str, also: Also) -> str:
    return str(User.from_json(text) == User("n", size=Size.big) and Also.from_json('{"n": 1}') == also)


@workflow
def flow(users: List[User]) -> List[str]:
    text = as_json(user=User("n", size=Size.big))
    return [shown(users=same(users=users)), text, back(text=text, also=Also())]
