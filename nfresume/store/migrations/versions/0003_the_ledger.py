"""Sizes over time and prices over time: the ledger"""

import sqlalchemy as sa
from alembic import op

from nfresume.store.schema import UtcDateTime

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "size_samples",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("execution_id", sa.String(length=64), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("metered_bytes", sa.BigInteger(), nullable=False),
        sa.Column("processes", sa.JSON(), nullable=True),
        sa.ForeignKeyConstraint(["execution_id"], ["executions.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("size_samples_of", "size_samples", ["execution_id", "at"], unique=False)
    op.create_table(
        "prices",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("since", UtcDateTime(), nullable=False),
        sa.Column("per_gb_month", sa.String(length=40), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    # What is known of the past: the last measurement of each work dir, and when it was gone.
    op.execute(
        "INSERT INTO size_samples (execution_id, at, metered_bytes) "
        "SELECT execution_id, measured_at, metered_bytes FROM work_dirs "
        "WHERE measured_at IS NOT NULL AND metered_bytes IS NOT NULL"
    )
    op.execute(
        "INSERT INTO size_samples (execution_id, at, metered_bytes) "
        "SELECT execution_id, deleted_at, 0 FROM work_dirs WHERE deleted_at IS NOT NULL"
    )
