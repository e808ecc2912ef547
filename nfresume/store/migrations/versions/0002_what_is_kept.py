"""What is kept of a work dir, how large it is, and how far its removal is"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    # What exists was launched when there was no choice.
    op.add_column(
        "executions", sa.Column("retain", sa.String(length=8), nullable=False, server_default="full")
    )
    op.add_column(
        "executions", sa.Column("on_success", sa.String(length=8), nullable=False, server_default="delete")
    )
    op.add_column("work_dirs", sa.Column("directories", sa.BigInteger(), nullable=True))
    op.add_column("work_dirs", sa.Column("disk_bytes", sa.BigInteger(), nullable=True))
    op.add_column(
        "work_dirs", sa.Column("partial", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.add_column("work_dirs", sa.Column("removal", sa.JSON(), nullable=True))
