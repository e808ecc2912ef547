"""The event log only grows: the database itself refuses to change or delete an event"""

from alembic import op

revision = "0008"
down_revision = "0007"

_SQLITE = """CREATE TRIGGER events_no_{verb} BEFORE {verb} ON events
BEGIN SELECT RAISE(ABORT, 'events are never changed'); END"""
_POSTGRESQL = (
    """CREATE FUNCTION events_refuse() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'events are never changed'; END $$""",
    """CREATE TRIGGER events_no_change BEFORE UPDATE OR DELETE ON events
FOR EACH ROW EXECUTE FUNCTION events_refuse()""",
)


def upgrade() -> None:
    statements = _POSTGRESQL if op.get_bind().dialect.name == "postgresql" else [
        _SQLITE.format(verb=verb) for verb in ("update", "delete")]
    for statement in statements:
        op.execute(statement)
