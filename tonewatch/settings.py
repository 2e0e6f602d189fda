"""Every setting, read once. Nothing else in the house reads the environment for Tonewatch's own settings.

Sources, the first wins: environment (`TONEWATCH_...`), then the file named by `TONEWATCH_SETTINGS_FILE`
(TOML, the same names in lower case), then the defaults. A name that is not listed here is an error.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args
from urllib.parse import urljoin, urlsplit

import yaml
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from tonewatch.errors import SettingsError
from tonewatch.records import ENTITY_ID, TENANT_SLUG, CauseKind
from tonewatch.roles import ROLES

PREFIX = "TONEWATCH_"
SETTINGS_FILE = "TONEWATCH_SETTINGS_FILE"
PROFILES = Path(__file__).resolve().parent.parent / "deployments" / "tenants"
#: These five may also be written without the prefix.
BARE_NAMES = ("MONITORING_ENABLED", "AI_ANOMALY_DETECTION", "AUTO_REMEDIATION", "ALERT_CHANNELS", "TENANT_ISOLATION")
KNOWN_CHANNELS = ("email", "slack")
LATER_CHANNELS = ("teams", "pagerduty")
WEB_SCHEMES = ("http", "https")
HIGHEST_PORT = 65535
LOOPBACK = ("127.0.0.1", "localhost", "::1")
MAIL_SCHEMES = ("smtp", "smtps", "smtp+starttls")


class Isolation(StrEnum):
    """How tenants are kept apart."""

    STRICT = "strict"


def default_state_dir() -> Path:
    """Where state lives: /var/lib/tonewatch for root, else $XDG_STATE_HOME/tonewatch.

    Raises SettingsError: the user has no home folder.
    """
    if os.geteuid() == 0:
        return Path("/var/lib/tonewatch")
    if os.environ.get("XDG_STATE_HOME"):
        return Path(os.environ["XDG_STATE_HOME"]) / "tonewatch"
    try:
        return Path.home() / ".local" / "state" / "tonewatch"
    except RuntimeError as error:
        raise SettingsError("this user has no home folder; name a folder for the state: TONEWATCH_STATE_DIR") from error


class Settings(BaseSettings):
    """All settings. The description of each is its documentation (docs/settings.md is made from it)."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True, hide_input_in_errors=True)

    monitoring_enabled: bool = Field(True, description="Off: the watcher collects nothing and judges nothing.")
    ai_anomaly_detection: bool = Field(True, description="Off: no model scores; the rules still work.")
    auto_remediation: bool = Field(True, description="Off: remedies are proposed in the notice, never carried out.")
    alert_channels: Annotated[tuple[str, ...], NoDecode] = Field(
        ("email",), description="Where notices go, separated by commas: email, slack. Empty: nowhere."
    )
    tenant_isolation: Isolation = Field(Isolation.STRICT, description="`strict` is the only value; there is no off.")

    state_dir: Path = Field(
        default_factory=default_state_dir, description="Folder for everything that must survive a restart."
    )
    profile: str = Field("platform", description="The tenant's profile: a file in deployments/tenants.")
    tenant: str = Field("default", description="The tenant that the watcher serves.")

    database_url: SecretStr | None = Field(
        None, description="PostgreSQL DSN of the app role. Unset: the embedded PostgreSQL."
    )
    dispatcher_database_url: SecretStr | None = Field(
        None, description="PostgreSQL DSN of the dispatcher role, with database_url."
    )
    admin_database_url: SecretStr | None = Field(
        None, description="PostgreSQL DSN that may create roles and databases; used by `up` for migrations alone."
    )
    redis_url: SecretStr | None = Field(None, description="Redis URL. Unset: the embedded Redis.")
    prefect_api_url: str | None = Field(None, description="Prefect API URL. Unset: a Prefect server of our own.")
    mlflow_tracking_uri: str | None = Field(None, description="MLflow URL. Unset: an MLflow server of our own.")

    gateway_port: int | None = Field(
        None, ge=1, le=65535, description="Port of the gateway. Unset: the last start's, 8414, or a free one."
    )
    prefect_port: int | None = Field(
        None, ge=1, le=65535, description="Port of our Prefect server. Unset: the last start's, 4200, or a free one."
    )
    mlflow_port: int | None = Field(
        None, ge=1, le=65535, description="Port of our MLflow server. Unset: the last start's, 5000, or a free one."
    )
    gateway_url: str | None = Field(
        None,
        description="Where people reach the gateway: the links in notices. Unset: this machine, and notices say so.",
    )
    gateway_listen: str | None = Field(
        None,
        description="HOST:PORT where the gateway serves others, too, by TLS 1.3. Unset: this machine alone.",
    )
    gateway_certificate: Path | None = Field(
        None, description="Its certificate with the chain, PEM; a renewed file is used without a restart."
    )
    gateway_private_key: Path | None = Field(None, description="The certificate's private key, PEM.")

    inventory_url: str | None = Field(None, description="The watched platform's inventory (docs/inventory.md).")
    prometheus_credentials: SecretStr | None = Field(
        None, description="For the Prometheus of the profile's sources: user:password, or a bearer token."
    )
    supervisor_url: SecretStr | None = Field(
        None,
        description="The platform's supervisord, http://user:password@host:port/RPC2: what remedies use.",
    )

    smtp_url: SecretStr | None = Field(
        None, description="smtp://[user:password@]host:port, smtps:// for TLS, smtp+starttls:// for STARTTLS."
    )
    mail_from: str = Field("tonewatch@localhost", description="Sender of notices and reports.")
    mail_to: Annotated[tuple[str, ...], NoDecode] = Field((), description="Receivers, separated by commas.")
    mail_to_l2: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Who is told besides mail_to when nobody has answered (L2), separated by commas."
    )
    mail_to_l3: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Who is told besides mail_to and mail_to_l2 when still nobody has answered (L3)."
    )
    slack_webhook_url: SecretStr | None = Field(
        None, description="Slack incoming webhook. It can only post; with slack_bot_token messages are updated."
    )
    slack_bot_token: SecretStr | None = Field(
        None, description="Slack bot token (chat:write), with slack_channel; takes the webhook's place."
    )
    slack_channel: str | None = Field(None, description="Slack channel (its id) to which the bot writes.")

    cases_kept: int = Field(
        100, ge=0, le=10_000, description="Incidents that are over and kept as cases, per tenant, the newest. 0: none."
    )

    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged.")

    @property
    def cases_dir(self) -> Path:
        """Where each tenant has a library of cases (docs/recordings.md)."""
        return self.state_dir / "cases"

    @property
    def champions_dir(self) -> Path:
        """Where each tenant's watcher keeps the models that judge (ml/kept.py)."""
        return self.state_dir / "champions"

    @property
    def named_state_dir(self) -> Path | None:
        """The state folder where a command must be told it; None: it is where commands look by themselves."""
        try:
            usual = default_state_dir()
        except SettingsError:  # there is none for this user
            return self.state_dir
        return None if usual.absolute() == self.state_dir else self.state_dir

    @field_validator("alert_channels", "mail_to", "mail_to_l2", "mail_to_l3", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            value = [value]
        if isinstance(value, (list, tuple)) and all(isinstance(part, str) for part in value):
            # A comma separates in a file's list too, or the same settings would read differently in a child process.
            return tuple(item.strip() for part in value for item in part.split(",") if item.strip())
        return value

    @field_validator("state_dir")
    @classmethod
    def _the_same_folder_from_everywhere(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @field_validator("alert_channels")
    @classmethod
    def _channels_known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return _known_channels(value)

    @field_validator("inventory_url", "supervisor_url", "smtp_url", "slack_webhook_url")
    @classmethod
    def _address_is_one(cls, value: str | SecretStr | None, info: ValidationInfo) -> str | SecretStr | None:
        if value is None:
            return None
        parts = urlsplit(value.get_secret_value() if isinstance(value, SecretStr) else value)
        schemes = MAIL_SCHEMES if info.field_name == "smtp_url" else WEB_SCHEMES
        if parts.scheme not in schemes or not parts.hostname:
            raise ValueError(f"must be an address that begins with {' or '.join(f'{each}://' for each in schemes)}")
        return value

    @field_validator("mail_to", "mail_to_l2", "mail_to_l3")
    @classmethod
    def _receivers_have_addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return _mail_addresses(value)

    @field_validator("gateway_listen")
    @classmethod
    def _place_to_listen_is_one(cls, value: str | None) -> str | None:
        host, _, port = (value or "-:1").rpartition(":")
        if not host or not port.isdigit() or not 1 <= int(port) <= HIGHEST_PORT:
            raise ValueError("must be HOST:PORT, e.g. 0.0.0.0:8443 or [::]:8443")
        return value

    @model_validator(mode="after")
    def _others_are_served_by_tls(self) -> Self:
        given = (self.gateway_listen, self.gateway_certificate, self.gateway_private_key)
        if any(each is not None for each in given) and not all(each is not None for each in given):
            raise ValueError(
                "gateway_listen, gateway_certificate, gateway_private_key go together: others are served by TLS alone"
            )
        return self

    @field_validator("tenant")
    @classmethod
    def _tenant_is_a_slug(cls, value: str) -> str:
        if not TENANT_SLUG.fullmatch(value):
            raise ValueError(f"{value!r} is no tenant name: 1 to 40 of a-z, 0-9 and -")
        return value

    @field_validator("profile")
    @classmethod
    def _profile_exists(cls, value: str) -> str:
        known = profile_names()
        if value not in known:
            raise ValueError(f"{value!r} is no profile; known are {', '.join(known)}")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # read() below gathers every source itself: pydantic-settings ignores unknown environment names silently.
        return (init_settings,)


class Grant(BaseModel):
    """The owner's written word that a runbook may act by itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    runbook: str = Field(description="Name of the remedy, e.g. restart")
    causes: tuple[CauseKind, ...] = Field(description="Kinds of cause for which it may act")
    entities: tuple[str, ...] = Field(description="Patterns of entity ids, e.g. component:*")
    granted_by: str = Field(description="Who gave the word")
    reason: str = Field(description="Why it is safe")


class PageBudget(BaseModel):
    """Pages a tenant is prepared to see in a calm budget week, over all detectors together."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pages_per_week: float = Field(2.0, gt=0, description="False pages in a calm budget week")
    week_seconds: float = Field(7 * 86400.0, gt=0, description="Length of a budget week; demo: seven compressed days")


class Search(BaseModel):
    """How much a training may search for better settings of a kind of model; one trial is that of the defaults."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    trials: int = Field(1, ge=1, le=200, description="Settings that are tried per family, the defaults first")
    seconds: float = Field(600.0, gt=0, description="After so long no further trial of a family begins")


class Escalation(BaseModel):
    """Minutes until an incident that nobody has answered is told to the next level (the sheet's defaults)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    l2_minutes_critical: float = Field(5.0, gt=0, description="To L2, when it is critical")
    l2_minutes: float = Field(15.0, gt=0, description="To L2 otherwise")
    l3_minutes_critical: float = Field(15.0, gt=0, description="To L3, when it is critical")
    l3_minutes: float = Field(45.0, gt=0, description="To L3 otherwise")


class CoolDowns(BaseModel):
    """Seconds before the same runbook may act on the same target again (guardrail 4)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    restart: float = Field(600.0, ge=0, description="After a restart")
    kill_and_restart: float = Field(600.0, ge=0, description="After a kill-and-restart")
    switch_input: float = Field(300.0, ge=0, description="After a switch to another input")
    drain: float = Field(1800.0, ge=0, description="After draining an edge, which takes capacity away")
    rollback: float = Field(3600.0, ge=0, description="After a rollback")

    def of(self, runbook: str) -> float | None:
        """Seconds for `runbook`; None for one that has no cool-down and so must not act."""
        known: dict[str, float] = {name.replace("_", "-"): seconds for name, seconds in self}
        return known.get(runbook)


class Freeze(BaseModel):
    """A time in which nothing is changed by itself (guardrail 17)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    started: AwareDatetime = Field(description="Its beginning, with a time zone")
    ended: AwareDatetime = Field(description="Its end, with a time zone")
    reason: str = Field(description="Why, e.g. the final of the cup")

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> Self:
        if self.ended <= self.started:
            raise ValueError("ended must be later than started")
        return self


#: The guardrails' limits in words for people, and whether more of it is wider.
_WIDER = {
    "blast_share": ("share of a service that may be out at once", True),
    "actions_per_quarter_hour": ("actions in 15 minutes", True),
    "actions_per_day": ("actions in a day", True),
    "concurrent_per_service": ("actions at once on one service", True),
    "concurrent": ("actions at once", True),
    "acts_per_incident": ("acts for one incident", True),
    "steady_readings": ("readings that a fault must hold for", False),
    "stale_intervals": ("intervals after which data is stale", True),
    "least_confidence": ("least confidence to act without a yes", False),
    "approval_seconds": ("seconds that a yes holds", True),
    "verify_seconds": ("seconds in which a remedy must show its effect", True),
    "good_readings": ("good readings that end an impact", False),
    "worse_share": ("share by which a guarded SLI may get worse", True),
    "breaker_failures": ("failures that stop a runbook", True),
    "breaker_half_open_seconds": ("seconds before a stopped runbook may try again", False),
    "breaker_global_failures": ("failures that stop everything", True),
    "breaker_last": ("acts of a runbook among which failures are counted", False),
    "breaker_global_seconds": ("seconds in which failures of all runbooks are counted", False),
}


class Guardrails(BaseModel):
    """The limits of automatic action; the defaults are those of the guardrail sheet (docs/guardrails.md)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    blast_share: float = Field(
        0.10, ge=0, le=1, description="2: share of a service that may be out at once, at least 1"
    )
    actions_per_quarter_hour: int = Field(5, ge=0, description="3: actions of the tenant in 15 minutes")
    actions_per_day: int = Field(20, ge=0, description="3: actions of the tenant in 24 hours")
    concurrent_per_service: int = Field(1, ge=0, description="3: actions at once on one service")
    concurrent: int = Field(3, ge=0, description="3: actions at once, over all services")
    cool_down_seconds: CoolDowns = Field(CoolDowns(), description="4: rest of a target after a runbook acted on it")
    steady_readings: int = Field(3, ge=1, description="5: readings in a row in which a fault must have held")
    stale_intervals: float = Field(3.0, gt=0, description="6: intervals of readings after which data is stale")
    least_confidence: float = Field(0.9, ge=0, le=1, description="7: confidence to act without a person's yes")
    approval_seconds: float = Field(900.0, gt=0, description="8: how long a yes holds")
    verify_seconds: float = Field(300.0, gt=0, description="13: time in which a remedy must show its effect")
    good_readings: int = Field(3, ge=1, description="13: good readings in a row that end an impact")
    worse_share: float = Field(0.10, ge=0, description="13: share by which a guarded SLI may get worse")
    breaker_failures: int = Field(2, ge=1, description="15: failures that stop a runbook")
    breaker_last: int = Field(5, ge=1, description="15: last acts of a runbook among which they are counted")
    breaker_half_open_seconds: float = Field(3600.0, ge=0, description="15: rest of a stopped runbook before one trial")
    breaker_global_failures: int = Field(3, ge=1, description="15: failures of all runbooks that stop everything")
    breaker_global_seconds: float = Field(1800.0, ge=0, description="15: time in which those are counted")
    freezes: tuple[Freeze, ...] = Field((), description="17: times in which nothing acts by itself")
    acts_per_incident: int = Field(1, ge=0, description="18: acts for one incident, at its root")

    def opened(self, defaults: Guardrails | None = None) -> list[str]:
        """In words, each limit that is wider than in `defaults` (by default the sheet's)."""
        sheet = defaults or Guardrails()
        told = []
        for name, (words, more) in _WIDER.items():
            here, there = getattr(self, name), getattr(sheet, name)
            if here > there if more else here < there:
                told.append(f"{words}: {here:g} instead of {there:g}")
        for name in CoolDowns.model_fields:
            here, there = getattr(self.cool_down_seconds, name), getattr(sheet.cool_down_seconds, name)
            if here < there:
                told.append(f"cool-down of {name.replace('_', '-')}: {here:g} s instead of {there:g} s")
        return told


class NamingRule(BaseModel):
    """Which part of the platform a pushed series belongs to."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    match: dict[str, str] = Field(description="Label -> regular expression that its whole value must fit; all must")
    entity: str = Field(description="Id of the entity, with {label} where a label's value goes: component:{pod}")

    @field_validator("match")
    @classmethod
    def _patterns_are_some(cls, value: dict[str, str]) -> dict[str, str]:
        for label, pattern in value.items():
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"the pattern of {label} is no regular expression: {error}") from error
        return value

    @field_validator("entity")
    @classmethod
    def _entity_is_one(cls, value: str) -> str:
        kind, _, name = value.partition(":")
        if not ENTITY_ID.fullmatch(f"{kind}:" + re.sub(r"\{[A-Za-z_][A-Za-z0-9_]*\}", "x", name)):
            raise ValueError(f"{value!r} gives no id of an entity; write kind:name, e.g. component:{{pod}}")
        return value


#: No rule may wait longer: the watcher looks back on little more.
LOOK_BACK_SECONDS = 300.0


class MetricRule(BaseModel):
    """A rule of the tenant's own on one metric: a finding, and an incident, when it has held for so long."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,59}$", description="What it is called, e.g. queue-too-long")
    metric: str = Field(min_length=1, max_length=200, description="The metric, as its source names it")
    entity: str = Field("*", description="Of which entities: an id, with * for any part of it, e.g. component:api-*")
    labels: dict[str, str] = Field({}, description="Labels that a series must have; others may be anything")
    reading: Literal["value", "rate", "mean", "max", "min"] = Field(
        "value", description="What is compared: each sample, or over the last over_seconds the increase per second, ..."
    )
    over_seconds: float = Field(
        60.0, gt=0, le=LOOK_BACK_SECONDS, description="How far back a reading goes; not of value"
    )
    above: float | None = Field(None, description="It holds above this; of above and below exactly one")
    below: float | None = Field(None, description="It holds below this")
    for_seconds: float = Field(0.0, ge=0, le=LOOK_BACK_SECONDS, description="How long it must hold without a break")
    summary: str = Field("", max_length=300, description="What it means, in a sentence, for whoever is called")

    @model_validator(mode="after")
    def _rule_is_one(self) -> Self:
        if (self.above is None) == (self.below is None):
            raise ValueError(f"rule {self.name}: give above or below, and only one of them")
        if self.looks_back > LOOK_BACK_SECONDS:
            raise ValueError(
                f"rule {self.name}: over_seconds and for_seconds together are at most {LOOK_BACK_SECONDS:g}"
            )
        return self

    @property
    def looks_back(self) -> float:
        """Seconds of samples that it needs."""
        return self.for_seconds + (0.0 if self.reading == "value" else self.over_seconds)


class PrometheusSource(BaseModel):
    """A Prometheus of the user's own that is read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(description="Its address, without user and password (they are the setting prometheus_credentials)")
    selectors: tuple[str, ...] = Field(
        ("up", 'ALERTS{alertstate="firing"}'), min_length=1, description="Which of its series are read"
    )

    @field_validator("url")
    @classmethod
    def _address_is_one(cls, value: str) -> str:
        if urlsplit(value).username is not None:
            raise ValueError("must not hold user and password: set TONEWATCH_PROMETHEUS_CREDENTIALS")
        return _source_address(value)


def _source_address(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in WEB_SCHEMES or not parts.hostname:
        raise ValueError("must be an address that begins with http:// or https://")
    if parts.username is not None:
        raise ValueError("must not hold user and password: settings are read by many")
    return value


SourceAddress = Annotated[str, AfterValidator(_source_address)]
#: A path on a server, nothing that could lead to another one.
MountPath = Annotated[str, Field(pattern=r"^/[^/\s?#][^\s?#]{0,198}$")]
HostName = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$|^[0-9A-Fa-f:]+$")]


class IcecastSource(BaseModel):
    """An Icecast server whose mounts are heard."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: SourceAddress = Field(description="Its address without a mount, e.g. http://radio.example:8000")
    mounts: tuple[MountPath, ...] = Field(
        min_length=1, max_length=32, description="Which of its mounts are heard, e.g. /live.mp3"
    )
    silence_seconds: float = Field(10.0, gt=0, description="Silence on a mount that is a finding")


class HlsSource(BaseModel):
    """An HLS station whose renditions are heard."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: SourceAddress = Field(description="Address of its playlist")
    renditions: tuple[str, ...] = Field(
        (), max_length=32, description="Which renditions are heard: addresses, or paths from url on; empty: url itself"
    )
    hosts: tuple[HostName, ...] = Field((), description="Further hosts that its playlists may point at, e.g. a CDN's")
    silence_seconds: float = Field(10.0, gt=0, description="Silence in a rendition that is a finding")

    @model_validator(mode="after")
    def _renditions_are_at_allowed_hosts(self) -> Self:
        allowed = {urlsplit(self.url).hostname, *(host.lower() for host in self.hosts)}
        for rendition in self.renditions:
            parts = urlsplit(urljoin(self.url, rendition))
            if parts.scheme not in WEB_SCHEMES or parts.username is not None:
                raise ValueError(f"the rendition {rendition!r} is no address")
            if parts.hostname not in allowed:
                raise ValueError(f"the rendition {rendition!r} is at another host: name it in hosts if it may be asked")
        return self

    @property
    def addresses(self) -> tuple[str, ...]:
        """The whole address of each rendition."""
        return tuple(urljoin(self.url, rendition) for rendition in self.renditions) or (self.url,)


class Sources(BaseModel):
    """Where telemetry is read, besides what the inventory names and what is pushed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prometheus: PrometheusSource | None = Field(None, description="A Prometheus; null: none")
    icecast: IcecastSource | None = Field(None, description="An Icecast server; null: none")
    hls: HlsSource | None = Field(None, description="An HLS station; null: none")


class Quotas(BaseModel):
    """How much the tenant may send."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    requests: int = Field(2000, ge=1, description="Requests in 10 s, of each kind (beacons, metrics, ...)")
    series: int = Field(
        200_000, ge=1, description="Series, ever: a pod's name in a label makes new ones with each release"
    )


class Channels(BaseModel):
    """Whom the tenant's notices reach. What is null is as the watcher's own settings have it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    alert_channels: tuple[str, ...] | None = Field(None, description="Where notices go: email, slack; []: nowhere")
    mail_to: tuple[str, ...] | None = Field(None, description="Who is told by e-mail (L1)")
    mail_to_l2: tuple[str, ...] | None = Field(None, description="Who besides when nobody has answered (L2)")
    mail_to_l3: tuple[str, ...] | None = Field(None, description="Who besides when still nobody has answered (L3)")
    slack_channel: str | None = Field(None, description="Id of the Slack channel to which the bot writes")

    @field_validator("alert_channels")
    @classmethod
    def _channels_known(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return value and _known_channels(value)

    @field_validator("mail_to", "mail_to_l2", "mail_to_l3")
    @classmethod
    def _receivers_have_addresses(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return value and _mail_addresses(value)


class People(BaseModel):
    """Who of the tenant's people may ask and act at the gateway: those whom its OpenID Connect provider vouches for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    issuer: str = Field(description="The provider's issuer, exactly as its tokens name it; https, or http on loopback")
    audience: str = Field(min_length=1, description="The audience that a token must be for: Tonewatch's client id")
    roles_claim: str = Field("roles", description="Where a token lists roles or groups; a.b for b inside a")
    roles: dict[str, tuple[str, ...]] = Field(
        description="viewer, operator, approver, auditor or admin -> what the provider calls those who are"
    )

    @field_validator("issuer")
    @classmethod
    def _issuer_is_safe(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme == "https" and parts.hostname:
            return value
        if parts.scheme == "http" and parts.hostname in LOOPBACK:
            return value
        raise ValueError("must begin with https:// (http:// is for a provider on this machine alone)")

    @field_validator("roles")
    @classmethod
    def _roles_are_known(cls, value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        unknown = sorted(set(value) - set(ROLES))
        if unknown or not value:
            raise ValueError(f"{', '.join(unknown) or 'nothing'} is no role; known are {', '.join(ROLES)}")
        return value


class Profile(BaseModel):
    """How a tenant is watched: a file in deployments/tenants."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    description: str = Field(description="What the profile is for, in a sentence")
    tick_seconds: float = Field(15.0, gt=0, description="Time between two rounds of the watcher")
    scrape_seconds: float = Field(15.0, gt=0, description="How often each component's /metrics is read")
    probe_seconds: float = Field(2.0, gt=0, description="How often the probe asks for each playlist")
    shift_seconds: float = Field(300.0, gt=0, description="Ticks that one detection run of Prefect stands for")
    day_seconds: float = Field(86400.0, gt=0, description="Length of the platform's day (the demo compresses it)")
    window_seconds: float = Field(60.0, gt=0, description="Length of a feature window")
    debounce_windows: int = Field(3, ge=1, description="Windows in a row above the threshold that make a finding")
    anomaly_seconds: float = Field(
        120.0, ge=0, description="How long an anomaly that nothing else confirms must last before it opens an incident"
    )
    scrapes_failed: int = Field(3, ge=1, description="Scrapes in a row that fail before a component counts as down")
    playlist_overdue_seconds: float = Field(
        3.0,
        gt=0,
        description="How overdue a playlist's next segment, or a stream's sound, may be before that is a finding",
    )
    silence_seconds: float = Field(10.0, gt=0, description="Silence on air that is a finding")
    evidence_seconds: float = Field(
        20.0, ge=0, description="How long an incident without a sure cause waits for more evidence before it is told"
    )
    verify_readings: int = Field(3, ge=1, description="Good readings in a row that end an impact")
    verify_timeout_seconds: float = Field(
        300.0, gt=0, description="After this long without them the verdict is inconclusive"
    )
    slo: float = Field(
        0.9999,
        gt=0,
        lt=1,
        description="The share of listener-minutes that is promised to have sound: reports, /v1/slos",
    )
    sessions_days: int = Field(
        30,
        ge=8,
        le=400,
        description="How long what players report, events, and rows of features are kept; a report needs a week",
    )
    budget: PageBudget = Field(PageBudget(), description="False pages that the tenant is prepared to see")
    models: dict[str, str] = Field(
        {}, description="Kind of model of a family of parts (edge: row-ensemble); others: isolation-forest"
    )
    search: Search = Field(Search(), description="How far a training searches for better settings of a model")
    approve_models: bool = Field(
        False, description="Whether a person must say yes before a model that is shown to be better becomes champion"
    )
    escalation: Escalation = Field(Escalation(), description="When an incident that nobody answers is told higher up")
    guardrails: Guardrails = Field(Guardrails(), description="Limits of automatic action")
    grants: tuple[Grant, ...] = Field((), description="Runbooks that may act by themselves, by the owner's word")
    sources: Sources = Field(Sources(), description="Where telemetry is read besides the inventory's parts")
    quotas: Quotas = Field(Quotas(), description="How much the tenant may send")
    channels: Channels = Field(Channels(), description="Whom the tenant's notices reach")
    people: People | None = Field(None, description="The identity provider of the tenant's people; null: keys alone")
    ignored_alerts: tuple[str, ...] = Field(
        (), description="Names of alerts of your own rules that are not heeded, whoever tells of them"
    )
    rules: tuple[MetricRule, ...] = Field((), description="Rules of your own on single metrics")
    followed_series: int = Field(
        20_000,
        ge=0,
        description="Series that are followed one by one at most, 3.7 KB each in memory and in a snapshot; 0: none",
    )
    naming: tuple[NamingRule, ...] = Field((), description="Which entity a pushed series belongs to; the first fits")
    light: bool = Field(
        False,
        description="No models: `up` starts neither MLflow nor a Prefect worker, and the watcher keeps house itself",
    )

    @model_validator(mode="after")
    def _failures_can_be_seen(self) -> Self:
        if self.scrapes_failed * self.scrape_seconds > LOOK_BACK_SECONDS:
            most = int(LOOK_BACK_SECONDS // self.scrape_seconds)
            raise ValueError(f"scrapes_failed: at most {most} of {self.scrape_seconds:g} s: no rule looks back further")
        return self

    @field_validator("rules")
    @classmethod
    def _rules_have_names_of_their_own(cls, value: tuple[MetricRule, ...]) -> tuple[MetricRule, ...]:
        twice = sorted(name for name, count in Counter(rule.name for rule in value).items() if count > 1)
        if twice:
            raise ValueError(f"two rules are called {twice[0]}: a finding names the rule that it is of")
        return value

    def silence_in(self, entity: str) -> float:
        """Seconds of silence that are a finding there: a source has a length of its own."""
        for prefix, source in (("rendition:icecast/", self.sources.icecast), ("rendition:hls/", self.sources.hls)):
            if source is not None and entity.startswith(prefix):
                return source.silence_seconds
        return self.silence_seconds


def profile_names() -> list[str]:
    """Names of the profiles that exist."""
    return sorted(path.stem for path in PROFILES.glob("*.yaml"))


@cache
def load_profile(name: str) -> Profile:
    """Read the profile file `name`.

    Raises SettingsError: no such profile, or a key or value that does not belong in one.
    """
    path = PROFILES / f"{name}.yaml"
    if not path.is_file():
        raise SettingsError(f"no profile {name!r}; known are {', '.join(profile_names())}")
    try:
        return Profile.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (ValidationError, yaml.YAMLError) as error:
        raise SettingsError(f"profile {path}: {_explain(error, Profile)}") from error


def profile_of(name: str, own: Mapping[str, Any]) -> Profile:
    """The profile file `name` with a tenant's own settings over it: the keys of a Profile, as deep as they differ.

    Raises SettingsError: no such profile, or a key or value that does not belong in one.
    """
    return changed(load_profile(name), own)


def changed(profile: Profile, own: Mapping[str, Any]) -> Profile:
    """The profile with these of its keys laid over it, as deep as they differ. Raises SettingsError as profile_of."""
    if not own:
        return profile
    written = profile.model_dump(mode="json", exclude_unset=True)
    try:
        return Profile.model_validate(_over(written, own))
    except ValidationError as error:
        raise SettingsError(f"settings: {_explain(error, Profile)}") from error


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above` laid over `below`: mappings key by key, everything else as a whole."""
    found = dict(below)
    for key, value in above.items():
        under = found.get(key)
        found[key] = _over(under, value) if isinstance(under, Mapping) and isinstance(value, Mapping) else value
    return found


def addressed(settings: Settings, profile: Profile) -> Settings:
    """The settings with the receivers that the tenant's profile names in place of their own."""
    return settings.model_copy(update=profile.channels.model_dump(exclude_none=True))


def read(environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from `environment` (default: the process's) and the settings file it names.

    Raises SettingsError: an unknown name (with the known ones), or a value that does not fit.
    """
    environment = os.environ if environment is None else environment
    values = _from_file(environment.get(SETTINGS_FILE)) | _from_environment(environment)
    # Empty is how a shell or a compose file writes "unset".
    values = {name: None if value == "" and _may_be_unset(name) else value for name, value in values.items()}
    try:
        return Settings(**values)
    except ValidationError as error:
        raise SettingsError(_explain(error, Settings)) from error


def to_environment(settings: Settings) -> dict[str, str]:
    """The settings as environment variables for a process of ours, secrets included."""
    written: dict[str, str] = {}
    for name in Settings.model_fields:
        value = getattr(settings, name)
        if value is None:
            continue
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        if isinstance(value, tuple):
            value = ",".join(value)
        written[PREFIX + name.upper()] = str(value)
    return written


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in environment.items():
        if name in BARE_NAMES:
            values.setdefault(name.lower(), value)
        elif name.startswith(PREFIX) and name != SETTINGS_FILE:
            values[_known(name.removeprefix(PREFIX).lower(), name)] = value
    return values


def _from_file(path: str | None) -> dict[str, Any]:
    if not path:
        return {}
    try:
        content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"settings file {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"settings file {path} is no TOML: {error}") from error
    return {_known(name, f"{name} (in {path})"): value for name, value in content.items()}


def _known_channels(value: tuple[str, ...]) -> tuple[str, ...]:
    for name in value:
        if name in LATER_CHANNELS:
            raise ValueError(f"{name} does not work yet; the channels that do are {', '.join(KNOWN_CHANNELS)}")
        if name not in KNOWN_CHANNELS:
            raise ValueError(f"{name!r} is no channel; known are {', '.join(KNOWN_CHANNELS)}")
    return value


def _mail_addresses(value: tuple[str, ...]) -> tuple[str, ...]:
    for receiver in value:
        if "@" not in receiver.strip("@") or any(sign.isspace() for sign in receiver):
            raise ValueError(f"{receiver!r} is no mail address")
    return value


def _may_be_unset(name: str) -> bool:
    return Settings.model_fields[name].default is None


def _known(name: str, written: str) -> str:
    if name in Settings.model_fields:
        return name
    near = difflib.get_close_matches(name, Settings.model_fields, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise SettingsError(f"unknown setting {written}.{hint} Known settings: {', '.join(Settings.model_fields)}")


def _explain(error: Exception, model: type[BaseModel]) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    lines = []
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"]) or model.__name__
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = f"unknown key; known are {', '.join(_model_at(model, problem['loc']).model_fields)}"
        if problem["type"] in ("bool_parsing", "bool_type"):
            message = f"{problem['input']!r} is neither yes nor no; known are true, false, on, off, yes, no, 1, 0"
        lines.append(f"{where}: {message}")
    return "; ".join(lines)


def _model_at(model: type[BaseModel], place: tuple[int | str, ...]) -> type[BaseModel]:
    """The model whose keys stand at the end of `place`."""
    for step in place[:-1]:
        if isinstance(step, str) and step in model.model_fields:
            kinds = _types_in(model.model_fields[step].annotation)
            model = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), model)
    return model


def _types_in(annotation: object) -> Iterator[object]:
    yield annotation
    for part in get_args(annotation):
        yield from _types_in(part)
