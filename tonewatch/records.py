"""The nouns. Frozen, without methods that reach outside; the warehouse's tables carry the same names."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

TENANT_SLUG = re.compile(r"[a-z0-9-]{1,40}")
ENTITY_ID = re.compile(r"[a-z][a-z0-9_-]*:[A-Za-z0-9][A-Za-z0-9_./-]*")


def digest(*parts: object) -> str:
    """32 hex digits of BLAKE2b over the canonical JSON of `parts`: equal parts give an equal id, also after a crash."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


class SeriesKind(StrEnum):
    """What a number is: a level, an ever-growing count, or a count per second."""

    GAUGE = "gauge"
    COUNTER = "counter"
    RATE = "rate"


class FindingKind(StrEnum):
    """Which sort of check saw it."""

    SIGNAL = "signal"
    RULE = "rule"
    DATA = "data"
    SECURITY = "security"
    DRIFT = "drift"
    HOST = "host"


class IncidentState(StrEnum):
    """How far an incident has come."""

    OPEN = "open"
    DIAGNOSED = "diagnosed"
    ACTING = "acting"
    VERIFYING = "verifying"
    MENDED = "mended"
    HANDED_OVER = "handed-over"
    CLOSED = "closed"


class CauseKind(StrEnum):
    """The published list; a cause is written `entity:kind`, e.g. `component:transcoder-ch1:crash`."""

    CRASH = "crash"
    HANG = "hang"
    OVERLOAD = "overload"
    LATENCY = "latency"
    LOSS = "loss"
    BAD_RELEASE = "bad-release"
    BAD_CONFIG = "bad-config"
    SOURCE_SILENT = "source-silent"
    SOURCE_LOOP = "source-loop"
    CORRUPT_DATA = "corrupt-data"
    DISK_FULL = "disk-full"
    LOCK = "lock"
    LEAK = "leak"
    EXPIRED_CERTIFICATE = "expired-certificate"
    ATTACK = "attack"
    PLANNED_WORK = "planned-work"
    DATA_FAULT = "data-fault"
    HOST_STARVED = "host-starved"
    UNKNOWN = "unknown"


class ActionState(StrEnum):
    """How far an action has come; the state is written before the deed."""

    INTENDED = "intended"
    STARTED = "started"
    FINISHED = "finished"
    FAILED = "failed"
    REFUSED = "refused"


class Outcome(StrEnum):
    """What a remedy did, as measured."""

    WORKED = "worked"
    HARMED = "harmed"
    INCONCLUSIVE = "inconclusive"


class NoticeState(StrEnum):
    """Where a message is."""

    PENDING = "pending"
    SENT = "sent"
    REFUSED = "refused"
    SUPERSEDED = "superseded"  # it waited for a channel that was away; a later notice tells what it told


class EventKind(StrEnum):
    """What an event tells of: a request that was answered, a try to log in, or something that was played."""

    ACCESS = "access"
    AUTH = "auth"
    PLAY = "play"


class ActKind(StrEnum):
    """What a person can do with an incident."""

    ACK = "ack"
    APPROVE = "approve"
    VETO = "veto"
    CLOSE = "close"
    REAL = "real"
    FALSE = "false"
    NOT_THE_CAUSE = "not-the-cause"


class RunKind(StrEnum):
    """What the run journal holds, and the name of the Prefect flow that shows it."""

    DETECTION = "detection"
    CORRELATION = "correlation"
    REMEDIATION = "remediation"


@dataclass(frozen=True, slots=True)
class Tenant:
    """A customer whose platform is watched, apart from every other."""

    slug: str
    name: str
    profile: str
    settings_version: int = 1


@dataclass(frozen=True, slots=True)
class Entity:
    """A part of a tenant's platform. `id` is `kind:name`; `feeds` names what its output goes to."""

    id: str
    stage: str  # source, ingest, transcode, package, origin, edge, player, channel, rendition
    labels: Mapping[str, str] = field(default_factory=dict)
    feeds: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Series:
    """One line of numbers. `id` follows from what it is, so that no look-up is needed to write a sample."""

    entity: str
    metric: str
    labels: tuple[tuple[str, str], ...] = ()
    unit: str = ""
    kind: SeriesKind = SeriesKind.GAUGE

    def __post_init__(self) -> None:
        # Two writers may read the same labels in another order; they mean one series.
        object.__setattr__(self, "labels", tuple(sorted(self.labels)))

    @property
    def id(self) -> int:
        """A non-negative 63-bit integer, the same for the same (entity, metric, labels)."""
        return int(digest(self.entity, self.metric, self.labels)[:16], 16) >> 1


@dataclass(frozen=True, slots=True)
class Sample:
    """One number of one series at one time (UTC)."""

    series: Series
    time: datetime
    value: float


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a detector or a rule saw in a window of event time."""

    tenant: str
    entity: str
    detector: str  # e.g. rule:scrape-down, isolation-forest:transcode
    kind: FindingKind
    started: datetime
    ended: datetime
    summary: str  # one sentence for a person
    symptom: str  # machine-readable: scrape-refused, scrape-timeout, playlist-stale, stalls, silence, anomaly ...
    expected: str = ""
    actual: str = ""
    score: float = 1.0
    rate: float | None = None  # calibrated: how many such findings a calm budget week holds
    features: Mapping[str, float] = field(default_factory=dict)
    model_version: str | None = None
    evidence: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        return digest(self.tenant, self.entity, self.detector, self.kind, self.started, self.ended)


@dataclass(frozen=True, slots=True)
class Incident:
    """Findings that belong together, from onset to close."""

    id: str
    tenant: str
    state: IncidentState
    onset: datetime
    opened: datetime
    title: str
    entities: tuple[str, ...] = ()
    impact_started: datetime | None = None
    impact_ended: datetime | None = None
    listener_minutes_lost: float = 0.0
    loss_basis: str = "inferred"  # measured, inferred, probe
    severity: str = "minor"  # minor, major, critical
    incident_class: str = "availability"
    closed: datetime | None = None


@dataclass(frozen=True, slots=True)
class Cause:
    """One ranked explanation of an incident."""

    incident: str
    rank: int
    entity: str
    kind: CauseKind
    confidence: float
    evidence: tuple[str, ...] = ()  # sentences
    path: tuple[str, ...] = ()  # entities, from the cause to where it was felt

    @property
    def name(self) -> str:
        """`component:transcoder-ch1:crash`"""
        return f"{self.entity}:{self.kind}"


@dataclass(frozen=True, slots=True)
class GuardAnswer:
    """What one guardrail said of one action."""

    guard: str
    allowed: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Action:
    """A remedy. `key` is its idempotency key: the same attempt has the same key whoever carries it on."""

    incident: str
    runbook: str  # restart
    target: str  # entity id
    attempt: int
    state: ActionState
    autonomy: str  # observe, propose, veto, act
    parameters: Mapping[str, str] = field(default_factory=dict)
    guards: tuple[GuardAnswer, ...] = ()
    intended: datetime | None = None
    started: datetime | None = None
    finished: datetime | None = None
    undo: str = ""
    detail: str = ""

    @property
    def key(self) -> str:
        return digest(self.incident, self.runbook, self.target, self.attempt)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an action worked, and how that is known."""

    action: str  # Action.key
    incident: str
    outcome: Outcome
    controlled: bool
    decided: datetime
    slis: Mapping[str, Any] = field(default_factory=dict)  # name -> {before, after, expected, interval}
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Notice:
    """A message to people, in the outbox until its channel has taken it."""

    tenant: str
    incident: str
    incident_state: str  # the state it tells of: opened, proposed, acted, mended, handed-over
    level: str  # L1, L2, L3
    channel: str  # email, slack
    subject: str
    body: str  # plain text
    html: str = ""
    created: datetime | None = None
    state: NoticeState = NoticeState.PENDING
    attempts: int = 0
    next_attempt: datetime | None = None
    sent: datetime | None = None
    last_error: str = ""
    round: int = 1  # which telling of the same state: an incident may be handed over twice
    receipt: str = ""  # how the channel knows the message that shows the incident; a channel that can update needs it

    @property
    def id(self) -> str:
        again = () if self.round == 1 else (self.round,)
        return digest(self.tenant, self.incident, self.incident_state, self.level, self.channel, *again)

    @property
    def dedup_key(self) -> str:
        """Message-ID's local part or dedup key: equal for every repeat of this notice."""
        return f"tonewatch-{self.id}"

    @property
    def thread_key(self) -> str:
        """Equal for all notices of one incident on one channel: what makes one mail thread."""
        return f"tonewatch-{digest(self.tenant, self.incident, self.channel)}"


@dataclass(frozen=True, slots=True)
class Label:
    """What a person's act said of an incident or an action: what calibration and training learn from."""

    id: str
    subject_kind: str  # incident, action, past-incident (of a backtest)
    subject: str  # Incident.id, Action.key, or Evidence.id
    value: (
        str  # an ActKind; what was judged also verdict:real, :false-alarm or :planned, cause:<name>, not-cause:<name>
    )
    who: str
    reason: str
    time: datetime


@dataclass(frozen=True, slots=True)
class Approval:
    """One person's yes to one action: good once, until it expires, and never from who asked for it."""

    id: str
    action: str  # Action.key
    requester: str
    approver: str
    reason: str
    approved: datetime
    expires: datetime
    used: datetime | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """Something that people or machines changed on the platform."""

    id: str
    kind: str  # release, configuration, maintenance, flag
    entity: str
    started: datetime
    ended: datetime | None
    author: str
    summary: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """Something kept as it was at its time. `id` is the hash of the content."""

    id: str
    kind: str  # samples, logs, audio, playlist, chart, past-incident
    as_of: datetime
    media_type: str
    content: bytes

    @classmethod
    def of(cls, kind: str, as_of: datetime, media_type: str, content: bytes) -> Evidence:
        """The evidence with this content: the same content again is the same evidence."""
        return cls(hashlib.blake2b(content, digest_size=16).hexdigest(), kind, as_of, media_type, content)


@dataclass(frozen=True, slots=True)
class SessionReport:
    """What one player said about one stretch of listening: one CMCD beacon, session already pseudonymised."""

    session: str  # keyed HMAC of the sid
    channel: str  # entity id, channel:ch1
    edge: str  # entity id or ""
    time: datetime
    event: str  # CMCD v2 event: t (interval), ps (state change), e (error); request: a request told it
    state: str  # CMCD sta: s starting, p playing, r rebuffering, a paused, e ended, f failed
    starved_ms: int = 0  # sound due and absent since the report before
    startup_ms: int | None = None
    latency_ms: int | None = None
    buffer_ms: int | None = None
    throughput_kbps: int | None = None
    bitrate_kbps: int | None = None
    sequence: int = 0  # counts up in a session; makes a repeated beacon harmless


@dataclass(frozen=True, slots=True)
class Alert:
    """What an Alertmanager says of one alert of the user's own rules."""

    labels: tuple[tuple[str, str], ...]  # sorted by name
    started: datetime  # by the clock of who says so
    ended: datetime | None = None  # None: it fires until it is told otherwise

    @property
    def id(self) -> str:
        return digest(self.labels)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that a person or a program did on the platform; who it was is pseudonymised. Empty: not told."""

    id: str  # the sender's own, one per event
    kind: EventKind
    time: datetime
    subject: str = ""  # keyed HMAC of the user's or account's id
    address: str = ""  # keyed HMAC of the network address
    path: str = ""  # access: without its query
    status: int | None = None  # access: HTTP's
    bytes: int | None = None  # access: of the answer
    agent: str = ""  # access
    outcome: str = ""  # auth: success, failure
    method: str = ""  # access: HTTP's; auth: password, token ...
    track: str = ""  # play
    channel: str = ""  # play: entity id, channel:ch1
    seconds: float | None = None  # play: how long


@dataclass(frozen=True, slots=True)
class Run:
    """A line of the run journal: what Prefect shows, kept whether Prefect was there or not."""

    id: str
    tenant: str
    kind: RunKind
    started: datetime
    ended: datetime | None = None
    incident: str | None = None
    outcome: str = "running"  # running, completed, failed
    summary: Mapping[str, Any] = field(default_factory=dict)
    flow_run: str | None = None  # the Prefect flow run that shows it; None until there is one
