"""Settings from the environment, then a TOML file, then defaults. Each value's source is known."""

from __future__ import annotations

import getpass
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any

from nfresume import home, values
from nfresume.domain import admission, budgets, notices, separation
from nfresume.domain.budgets import Budget
from nfresume.domain.costs import DEFAULT_CURRENCY
from nfresume.domain.errors import InvalidSettings
from nfresume.domain.notices import Channel
from nfresume.domain.people import Role
from nfresume.domain.retention import check_hours
from nfresume.domain.separation import RunAs
from nfresume.domain.workdirs import OnSuccess, Retain

CONFIG_ENV = "NFRESUME_CONFIG"
#: The value of `web_pipelines` of a site whose editors may run any code.
ANY_PIPELINE = "any"


class LauncherName(StrEnum):
    """How a supervisor can be started."""

    LOCAL = "local"
    SLURM = "slurm"


class LogLevel(StrEnum):
    """The least important lines that are logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """How a line of the log is written."""

    TEXT = "text"
    JSON = "json"


class KeepTaskLogs(StrEnum):
    """Of which tasks scripts and output are kept after their task dirs are gone."""

    ALL = "all"
    FAILED = "failed"
    NONE = "none"


@dataclass(frozen=True)
class Setting:
    """One setting. `parse` turns a text or TOML value into its type, or raises ValueError or TypeError."""

    key: str
    help: str
    parse: Callable[[Any], Any]
    default: Callable[[], Any]

    @property
    def env(self) -> str:
        """The environment variable of this setting."""
        return f"NFRESUME_{self.key.upper()}"


def _nothing() -> None:
    return None


def user_name() -> str:
    """The user's login name, or `uid` and the number where there is no name (in a container, say)."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return f"uid{os.getuid()}"


def _default_account() -> str:
    """The user's login name without the characters that an account name must not have."""
    return re.sub(r"[^A-Za-z0-9._-]", "", user_name()).lstrip("._-")[:63] or "default"


def _default_database() -> str:
    return f"sqlite:///{home.folder('state') / 'nfresume.db'}"


SETTINGS = (
    Setting("root", "folder on the shared file system that holds the work dirs", values.path,
            lambda: home.folder("data") / "root"),
    Setting("database_url", "state database: sqlite:////path (one machine) or postgresql://...", values.text,
            _default_database),
    Setting("account", "who owns executions launched from here", values.account, _default_account),
    Setting("host", "this host's name; a container that is replaced keeps it (default: its host name)",
            values.text, lambda: os.uname().nodename),
    Setting("nextflow", "the nextflow executable to use", values.path, _nothing),
    Setting("nextflow_version", "the version of Nextflow to run, as NXF_VER (the extra `nextflow` brings a "
            "launcher that downloads it)", values.version, _nothing),
    Setting("java_home", "Java for the embedded engine (default: the one that comes with it)", values.path,
            _nothing),
    Setting("storage_expiration_hours", "hours a work dir is kept after a failure, if neither the "
            "command line nor the pipeline sets them", check_hours, _nothing),
    Setting("retain", "what is kept after a failure: full, slim (without the task dirs of failed tasks), or "
            "lean (and without the content of intermediate files that no coming task reads)",
            values.one_of(Retain), lambda: Retain.FULL),
    Setting("lean_min_size", "with retain = lean smaller files keep their content",
            values.size, lambda: 1 << 20),
    Setting("free_while_running", "with retain = lean files are emptied during a run, too, once an earlier "
            "success of the pipeline has shown which processes read them", values.yes_or_no, lambda: False),
    Setting("on_success", "what becomes of the work dir after a success: delete, or keep (for "
            "storage_expiration_hours)", values.one_of(OnSuccess), lambda: OnSuccess.DELETE),
    Setting("keep_task_logs", "of which tasks scripts and output are kept when their task dirs are gone: "
            "all, failed or none", values.one_of(KeepTaskLogs), lambda: KeepTaskLogs.ALL),
    Setting("keep_records_days", "days after the deletion of a work dir after which the records, logs and "
            "attachments of its execution go too; 0 keeps them", values.days, lambda: 90.0),
    Setting("storage_workers", "how many directories are removed or measured at the same time (default on a "
            "shared file system: 64 to remove, 16 to measure)", values.workers, _nothing),
    Setting("delete_per_second", "file operations per second that one removal may do (default: no limit)",
            values.per_second, _nothing),
    Setting("price_per_gb_month", "price of a GB-month of the storage under root (default: AWS's list price "
            "when root is on EFS, else a dated table)", values.price, _nothing),
    Setting("price_per_cpu_hour", "price of a CPU hour, to compare keeping with computing again",
            values.price, _nothing),
    Setting("currency", "ISO 4217 code of the prices in these settings", values.currency,
            lambda: DEFAULT_CURRENCY),
    Setting("efs_file_system", "id or ARN of root's EFS file system, if it cannot be found from the mount",
            values.efs, _nothing),
    Setting("budgets", "limits on retained storage, by account and root (a list of tables; JSON in the "
            "environment)", budgets.parse, tuple),
    Setting("notify", "where notices go: Apprise URLs, or tables with url, account and kinds (JSON in the "
            "environment)", notices.parse, tuple),
    Setting("notify_before_expiry", "share of the retention that is left when the notice of its expiry is "
            "sent (at least an hour)", values.share, lambda: 0.2),
    Setting("launcher", "where a supervisor and its Nextflow run: local, or slurm (in a batch job)",
            values.one_of(LauncherName), lambda: LauncherName.LOCAL),
    Setting("slurm_options", "options of sbatch for those jobs, such as --partition=long",
            values.texts, tuple),
    Setting("web_url", "the console's URL for users on other machines", values.url, _nothing),
    Setting("web_launches", "folder in which each launch from the web gets its launch dir", values.path,
            lambda: home.folder("data") / "launches"),
    Setting("web_pipelines", "pipelines that may be launched from the web, such as nf-core/rnaseq@3.14.0; * "
            "matches any text; any: every pipeline, so that an editor may run any code (default: none)",
            values.texts, tuple),
    Setting("web_profiles", "profiles that may be used from the web (default: any)", values.texts, tuple),
    Setting("web_data", "folders whose files may be chosen for parameters in the console; {account} stands "
            "for the account (default: none)", values.folders, tuple),
    Setting("oidc_issuer", "OpenID Connect provider that users log in with", values.url, _nothing),
    Setting("oidc_client_id", "the console's client id at that provider", values.text, _nothing),
    Setting("oidc_client_secret", "the console's secret at that provider", values.secret, _nothing),
    Setting("oidc_admit", "who may enter with that provider: domain:NAME and user:ADDRESS (of a verified "
            "e-mail address), group:NAME, subject:ID; any: whoever the provider knows (default: nobody)",
            admission.parse, tuple),
    Setting("oidc_groups_claim", "the provider's claim that lists a user's groups",
            values.text, lambda: "groups"),
    Setting("oidc_first_role", "role that a new user of the provider has in the account of their name: "
            "viewer, editor or owner; editors may launch", values.one_of(Role), lambda: Role.VIEWER),
    Setting("web_proxies", "addresses or networks of the reverse proxies whose X-Forwarded-* headers are "
            "believed", values.networks, lambda: ("127.0.0.1", "::1")),
    Setting("run_as", "operating system user who runs what belongs to an account, by account, * for "
            "all others (a table; JSON in the environment); `nfresume serve` must be root (default: the user "
            "of `nfresume serve`)",
            separation.parse, tuple),
    Setting("log_level", "what is logged: debug, info, warning or error", values.one_of(LogLevel),
            lambda: LogLevel.INFO),
    Setting("log_format", "how it is logged: text, or json",
            values.one_of(LogFormat), lambda: LogFormat.TEXT),
    Setting("task_cache_hours", "hours without use after which an entry of the task cache is removed",
            check_hours, lambda: 720.0),
    Setting("task_cache_limit", "maximum size of an account's task cache, such as 500 GB; the least recently "
            "used entries are removed first (default: no limit)", values.size, _nothing),
    Setting("environment_cache_hours", "hours without use after which a conda environment or image is "
            "removed from the account's cache; 0: each work dir has its own", check_hours, lambda: 720.0),
    Setting("container_engine", "program that runs Python tasks in containers, or none (default: docker, "
            "podman or apptainer, whichever is there)", values.text, _nothing),
    Setting("container_image", "image for all Python tasks, instead of their Dockerfile",
            values.text, _nothing),
    Setting("task_secrets", "folder with a file for each secret that Python tasks ask for",
            values.path, _nothing),
    Setting("lease_seconds", "how long a supervisor may not renew its lease before its attempt is lost",
            values.seconds, lambda: 30.0),
    Setting("hang_seconds", "how long a Nextflow that has failed may run no task and write nothing before it "
            "is stopped", values.seconds, lambda: 1800.0),
    Setting("sample_seconds", "how often `nfresume serve` measures a work dir that is in use or retained "
            "(it spends at most 1 % of its time on that)", values.seconds, lambda: 3600.0),
    Setting("sweep_seconds", "how often `nfresume serve` sweeps", values.seconds, lambda: 60.0),
)


@dataclass(frozen=True)
class Settings:
    """All settings, typed.

    `sources` maps each key to where its value came from, `given` to the raw value if there was one.
    """

    root: Path
    database_url: str
    account: str
    host: str
    nextflow: Path | None
    nextflow_version: str | None
    java_home: Path | None
    storage_expiration_hours: float | None
    retain: Retain
    lean_min_size: int
    free_while_running: bool
    on_success: OnSuccess
    keep_task_logs: KeepTaskLogs
    keep_records_days: float
    storage_workers: int | None
    delete_per_second: float | None
    price_per_gb_month: Decimal | None
    price_per_cpu_hour: Decimal | None
    currency: str
    efs_file_system: str | None
    budgets: tuple[Budget, ...]
    notify: tuple[Channel, ...]
    notify_before_expiry: float
    launcher: LauncherName
    slurm_options: tuple[str, ...]
    web_url: str | None
    web_launches: Path
    web_pipelines: tuple[str, ...]
    web_profiles: tuple[str, ...]
    web_data: tuple[str, ...]
    oidc_issuer: str | None
    oidc_client_id: str | None
    oidc_client_secret: values.Secret | None
    oidc_admit: tuple[admission.Rule, ...]
    oidc_groups_claim: str
    oidc_first_role: Role
    web_proxies: tuple[str, ...]
    run_as: tuple[RunAs, ...]
    log_level: LogLevel
    log_format: LogFormat
    task_cache_hours: float
    task_cache_limit: int | None
    environment_cache_hours: float
    container_engine: str | None
    container_image: str | None
    task_secrets: Path | None
    lease_seconds: float
    hang_seconds: float
    sample_seconds: float
    sweep_seconds: float
    sources: Mapping[str, str]
    given: Mapping[str, Any]

    def for_account(self, account: str) -> Settings:
        """These settings, for another account."""
        return replace(self, account=account, given={**self.given, "account": account})


def config_file(environ: Mapping[str, str] = os.environ) -> Path:
    """The path of the settings file. The file need not exist."""
    explicit = environ.get(CONFIG_ENV)
    return Path(explicit) if explicit else home.folder("config") / "nfresume.toml"


def load(environ: Mapping[str, str] = os.environ, **overrides: object) -> Settings:
    """Read the settings. `overrides` are command line values by key (None = not given).

    Raises InvalidSettings with the source and the key.
    """
    file = config_file(environ)
    in_file = _read_file(file, required=bool(environ.get(CONFIG_ENV)))
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    given: dict[str, Any] = {}
    for setting in SETTINGS:
        if overrides.get(setting.key) is not None:
            raw, source = overrides[setting.key], "command line"
        elif environ.get(setting.env):
            raw, source = environ[setting.env], setting.env
        elif setting.key in in_file:
            raw, source = in_file[setting.key], str(file)
        else:
            values[setting.key], sources[setting.key] = setting.default(), "default"
            continue
        try:
            values[setting.key] = setting.parse(raw)
        except (ValueError, TypeError) as e:
            raise InvalidSettings(f"{source}: {setting.key}: {e}", "see `nfresume config`") from None
        sources[setting.key], given[setting.key] = source, raw
    return Settings(**values, sources=sources, given=given)


def _read_file(file: Path, *, required: bool) -> dict[str, Any]:
    try:
        data = tomllib.loads(file.read_text())
    except FileNotFoundError:
        if required:
            raise InvalidSettings(f"{file}: no such file", f"{CONFIG_ENV} names it") from None
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as e:
        raise InvalidSettings(f"{file}: {e}", "fix the file or remove it") from None
    unknown = sorted(set(data) - {s.key for s in SETTINGS})
    if unknown:
        raise InvalidSettings(f"{file}: unknown setting {', '.join(unknown)}",
                              "see `nfresume config` for the names")
    return data
