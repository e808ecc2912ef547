"""An account has a cache of environments beside its task cache"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.add_column("cache_samples", sa.Column("kind", sa.String(12), nullable=False, server_default="tasks"))
