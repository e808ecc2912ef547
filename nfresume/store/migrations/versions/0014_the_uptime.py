"""What each machine noted of the time, and its uptime by then"""

import sqlalchemy as sa
from alembic import op

from nfresume.store.schema import UtcDateTime

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.create_table(
        "clocks",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("boot", sa.String(36), nullable=False),
        sa.Column("seen_at", UtcDateTime(), nullable=False),
        sa.Column("uptime", sa.Float(), nullable=False),
        sa.Column("held_until", UtcDateTime(), nullable=True),
    )
    op.execute("INSERT INTO clocks (boot, seen_at, uptime, held_until) "
               "SELECT '', seen_at, 0, held_until FROM clock")
    op.drop_table("clock")
