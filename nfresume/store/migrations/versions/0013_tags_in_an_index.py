"""An index that has the tags: SQLite looks for a tag in it, and reads no whole row"""

from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.create_index("executions_tags", "executions", ["account", "tags", "id"])
