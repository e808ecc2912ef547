"""Every error that a user can meet: message, hint, exit code, HTTP status.

Exit codes follow BSD `sysexits.h` (64 to 78) and continue at 80, so that they seldom equal one of
Nextflow's own (0, 1, and what a script passes to `exit`).
"""

from __future__ import annotations

from typing import ClassVar


class NfresumeError(Exception):
    """nfresume refuses something, or could not do it.

    `message` says what happened and why; `hint` says what to do. Each is one line.
    """

    exit_code: ClassVar[int] = 70
    http_status: ClassVar[int] = 500

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = " ".join(message.split())
        self.hint = " ".join(hint.split())

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class UsageError(NfresumeError):
    """An argument is wrong."""

    exit_code = 64
    http_status = 400


class InvalidMetadata(NfresumeError):
    """A `latch_metadata` or a Python workflow cannot be loaded, or declares a bad value."""

    exit_code = 65
    http_status = 422


class NotFound(NfresumeError):
    """A script, execution, task or file does not exist, or belongs to another account."""

    exit_code = 66
    http_status = 404


class EngineUnavailable(NfresumeError):
    """There is no Nextflow or Java that can run the pipeline."""

    exit_code = 69
    http_status = 503


class StoreUnavailable(NfresumeError):
    """The state database cannot be opened, or is on a file system that it must not be on."""

    exit_code = 71
    http_status = 503


class StoreRefused(NfresumeError):
    """The state database refused a statement: a fault of nfresume, so asking again is of no use."""

    exit_code = 70
    http_status = 500


class RootUnusable(NfresumeError):
    """The root on the shared file system is missing, unmarked, unwritable, full or misplaced."""

    exit_code = 73
    http_status = 503


class RemovalBlocked(NfresumeError):
    """Something in a work dir could not be removed."""

    exit_code = 74
    http_status = 409


class ResultsAtRisk(NfresumeError):
    """Published results exist only in the work dir, and could not be materialised."""

    exit_code = 75
    http_status = 409


class AwsUnavailable(NfresumeError):
    """AWS could not be asked, did not answer in time, or does not know what was asked."""

    exit_code = 76
    http_status = 503


class InvalidSettings(NfresumeError):
    """A bad value in the environment or the settings file."""

    exit_code = 78
    http_status = 500


class Conflict(NfresumeError):
    """The execution's state does not allow this. Another action may have changed it a moment before."""

    exit_code = 80
    http_status = 409


class Expired(NfresumeError):
    """The work dir is deleted or being deleted: there is nothing to relaunch from."""

    exit_code = 81
    http_status = 410


class StaleLease(NfresumeError):
    """Another supervisor owns this attempt now. The holder of the older token must stop."""

    exit_code = 82
    http_status = 409


class StaleClaim(NfresumeError):
    """Another process deletes this work dir now. The holder of the older token must stop."""

    exit_code = 82
    http_status = 409
