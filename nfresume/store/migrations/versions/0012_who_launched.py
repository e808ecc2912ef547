"""Who launched is in the execution's row; indexes for rare filters of the list, and for costs of a period"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.add_column("executions", sa.Column("launched_by", sa.Text(), nullable=True))
    op.execute("UPDATE executions SET launched_by = (SELECT MAX(actor) FROM events "
               "WHERE events.execution_id = executions.id AND events.name = 'launch')")
    op.execute("UPDATE executions SET pipeline = SUBSTR(pipeline, 1, 500) WHERE LENGTH(pipeline) > 500")
    op.create_index("executions_launchers", "executions", ["account", "launched_by", "id"])
    op.create_index("executions_pipelines", "executions", ["account", "pipeline", "created_at", "id"])
    op.create_index("work_dirs_gone", "work_dirs", ["state", "deleted_at"])
