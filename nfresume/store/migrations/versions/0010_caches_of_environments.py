"""An account has a cache of environments beside its task cache"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("cache_samples", sa.Column("kind", sa.String(12), nullable=False, server_default="tasks"))
