# result: {"a": [1, null, "x"]}
# inputs: --value '{"a": [1, null, "x"]}'
from latch import small_task, workflow
from latch.types.json import JsonArray, JsonObject, JsonValue


@small_task
def same(value: JsonValue) -> JsonValue:
    return value


@workflow
def flow(value: JsonObject) -> JsonValue:
    return same(value=value)
