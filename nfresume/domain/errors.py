"""Every error that a user can meet: what happened, what to do, exit code, HTTP status.

Exit codes stay clear of Nextflow's own (0, 1, and what a script passes to `exit`) as far as one
byte allows: they follow BSD `sysexits.h` (64 to 78) and go on at 80.
"""

from __future__ import annotations

from typing import ClassVar


class NfresumeError(Exception):
    """Something nfresume refuses or could not do.

    `message` says what happened and why, in one line; `hint` says what to do about it.
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
    """An argument is wrong, or belongs to nfresume rather than to Nextflow."""

    exit_code = 64
    http_status = 400


class InvalidMetadata(NfresumeError):
    """A `latch_metadata` that cannot be loaded or has a bad value."""

    exit_code = 65
    http_status = 422


class NotFound(NfresumeError):
    """A script, execution, task or file that is not there (or is another account's)."""

    exit_code = 66
    http_status = 404


class EngineUnavailable(NfresumeError):
    """No Nextflow or Java that can run the pipeline."""

    exit_code = 69
    http_status = 503


class StoreUnavailable(NfresumeError):
    """The state database cannot be opened, or must not be where it is."""

    exit_code = 71
    http_status = 503


class RootUnusable(NfresumeError):
    """The root on the shared file system is missing, unmarked, unwritable, full or misplaced."""

    exit_code = 73
    http_status = 503


class RemovalBlocked(NfresumeError):
    """Something in a work dir could not be removed."""

    exit_code = 74
    http_status = 409


class ResultsAtRisk(NfresumeError):
    """Published results still live in a work dir and could not be made real."""

    exit_code = 75
    http_status = 409


class AwsUnavailable(NfresumeError):
    """AWS could not be asked, or not in time, or says nothing about what was asked."""

    exit_code = 76
    http_status = 503


class InvalidSettings(NfresumeError):
    """A bad value in the environment or the settings file."""

    exit_code = 78
    http_status = 500


class Conflict(NfresumeError):
    """The execution is in a state that does not allow this; another action may have won a race."""

    exit_code = 80
    http_status = 409


class Expired(NfresumeError):
    """The work dir is gone or going: nothing is left to relaunch from."""

    exit_code = 81
    http_status = 410


class StaleLease(NfresumeError):
    """Another supervisor owns this attempt now; whoever holds the old token must stop."""

    exit_code = 82
    http_status = 409
