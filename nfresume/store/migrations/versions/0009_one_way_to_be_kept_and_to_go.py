"""How long a work dir is kept is one value; a deletion has a token and a point of no return"""

import sqlalchemy as sa
from alembic import op

from nfresume.store.schema import UtcDateTime

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    for column in (
        sa.Column("keep_kind", sa.String(8), nullable=True),
        sa.Column("kept_by", sa.Text(), nullable=True),
        sa.Column("kept_why", sa.Text(), nullable=True),
        sa.Column("look_again_at", UtcDateTime(), nullable=True),
        sa.Column("looks", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("claim_token", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("secured_at", UtcDateTime(), nullable=True),
    ):
        op.add_column("work_dirs", column)
    op.execute("ALTER TABLE work_dirs RENAME COLUMN remover TO claimed_by")
    op.execute("ALTER TABLE work_dirs RENAME COLUMN remover_until TO claimed_until")
    op.execute("UPDATE work_dirs SET keep_kind = 'pinned', expires_at = NULL, kept_why = 'pinned' "
               "WHERE pinned AND state IN ('ACTIVE', 'RETAINED')")
    op.execute("UPDATE work_dirs SET keep_kind = 'rule', kept_why = COALESCE(reason, 'kept') "
               "WHERE keep_kind IS NULL AND state = 'RETAINED' AND expires_at IS NOT NULL")
    op.execute("UPDATE work_dirs SET keep_kind = 'held', kept_by = 'nfresume', "
               "kept_why = COALESCE(reason, 'held') WHERE keep_kind IS NULL AND state = 'RETAINED'")
    # A success that is held is looked at again, as before; a failure waits for a person.
    op.execute("UPDATE work_dirs SET look_again_at = "
               "(SELECT updated_at FROM executions WHERE id = execution_id) "
               "WHERE keep_kind = 'held' AND execution_id IN "
               "(SELECT id FROM executions WHERE state = 'SUCCEEDED')")
    # Until now results were secured before a work dir was DELETING.
    op.execute("UPDATE work_dirs SET secured_at = "
               "(SELECT updated_at FROM executions WHERE id = execution_id) WHERE state = 'DELETING'")
    with op.batch_alter_table("work_dirs") as table:
        table.drop_column("pinned")
    op.create_index("work_dirs_look_again", "work_dirs", ["state", "look_again_at"])
