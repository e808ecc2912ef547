"""Prices by root and in a currency; when an expiry was set and told; what was delivered to whom"""

import sqlalchemy as sa
from alembic import op

from nfresume.store.schema import UtcDateTime

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    with op.batch_alter_table("prices") as batch:
        batch.add_column(sa.Column("root_id", sa.String(length=36), nullable=True))
        batch.add_column(sa.Column("currency", sa.String(length=3), nullable=False, server_default="USD"))
        batch.create_foreign_key("prices_root", "roots", ["root_id"], ["id"])
    with op.batch_alter_table("prices") as batch:
        batch.alter_column("currency", server_default=None)
    op.add_column("work_dirs", sa.Column("notice_at", UtcDateTime(), nullable=True))
    op.create_index("work_dirs_notice", "work_dirs", ["notice_at"], unique=False)
    op.create_index("work_dirs_measured", "work_dirs", ["state", "measured_at"], unique=False)
    op.create_index("events_named", "events", ["name", "at"], unique=False)
    op.create_table(
        "deliveries",
        sa.Column("event_id", sa.Integer(), nullable=False),
        sa.Column("channel", sa.String(length=16), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("next_try_at", UtcDateTime(), nullable=True),
        sa.Column("delivered_at", UtcDateTime(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["event_id"], ["events.id"]),
        sa.PrimaryKeyConstraint("event_id", "channel"),
    )
