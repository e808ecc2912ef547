# result: [3, "flytekitplugins.spark.Spark is not provided by nfresume"]
from typing import List, Optional

import flytekit
from flytekit import ContainerTask, StructuredDataset, WorkflowExecutionPhase, task, workflow
from flytekit.extend import TypeEngine, TypeTransformer
from flytekit.models import literals
from flytekit.models.types import LiteralType
from flytekit.types.file import CSVFile, PNGImageFile
from flytekit.types.schema import FlyteSchema
from flytekitplugins.spark import Spark
from flytekitplugins.wandb import wandb_init

Schema = FlyteSchema[flytekit.kwtypes(name=str)]
PHASES = [WorkflowExecutionPhase.SUCCEEDED, literals.Scalar]
square = ContainerTask(name="square", image="alpine", inputs={"n": int}, command=["expr", "{{.inputs.n}}"])


class Own:
    pass


class OwnTransformer(TypeTransformer[Own]):
    def __init__(self):
        super().__init__(name="own", t=Own)

    def get_literal_type(self, t) -> LiteralType: ...


TypeEngine.register(OwnTransformer())


@task(task_config=Spark(spark_conf={"spark.driver.memory": "1000M"}))
def plain(n: int, table: Optional[StructuredDataset] = None, schema: Optional[Schema] = None) -> int:
    flytekit.Deck("name", "<b>bold</b>").append("more")
    return n + 1


@task
@wandb_init(project="mine")
def logged(n: int) -> int:
    return n


@task
def refused(picture: Optional[PNGImageFile] = None, table: Optional[CSVFile] = None) -> str:
    try:
        Spark()
    except RuntimeError as e:
        return str(e)


@workflow
def flow() -> list:
    return [plain(n=2), refused()]


@workflow
def refusing(n: int) -> int:
    return logged(n=n) if n else square(n=n)
