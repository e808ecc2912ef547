"""What task caches hold over time"""

import sqlalchemy as sa
from alembic import op

from nfresume.store.schema import UtcDateTime

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "cache_samples",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("root_id", sa.String(length=36), nullable=False),
        sa.Column("account", sa.String(length=63), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("metered_bytes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["root_id"], ["roots.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("cache_samples_of", "cache_samples", ["root_id", "account", "at"])
