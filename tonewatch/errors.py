"""Every error that Tonewatch raises, in one tree. The message says what happened and what to do about it.

TonewatchError
├── SettingsError            a setting, profile or policy file that cannot be used
├── StackError               a part of the stack that cannot be started, reached or stopped
│   ├── AlreadyUp            `up` while it is up
│   ├── NotUp                a command that needs the stack while it is down
│   ├── PortTaken
│   ├── StateFolderError     not writable, from another version, or unreachable for the database's user
│   └── PartFailed           a process that ended or did not become healthy
├── WarehouseError           PostgreSQL refused, is away, or holds another schema version
│   ├── WarehouseAway        worth trying again
│   ├── UnknownTenant
│   └── UnknownIncident
├── BoundaryError            something outside the platform did not do what was asked
│   ├── SourceError          unreadable or unreachable telemetry, playlist, segment or log
│   ├── ChannelError         a message that could not be handed over
│   │   └── ChannelRefused   and will not be accepted on another try either
│   ├── PlatformError        a remedy whose outcome is a refusal
│   │   └── OutcomeUnknown   the call broke off; the state must be looked up, never the call repeated blindly
│   └── PayloadError         what came in at the door cannot be accepted
│       └── PayloadTooLarge  and is more than may come at once
├── ActRefused               a person's act that the incident's state does not allow, or that was done already
├── ModelError               no champion, or a model that does not fit the features
│   ├── ModelUncalibrated    nobody's calm has set a threshold for it
│   ├── ModelUnfit           its artefact was read and is not what it should be
│   └── ModelFails           its own code failed while it scored
├── RecordingError           a folder that is no recording, is damaged, or cannot be written
├── FeatureError             no such view, set or entity, rows of another definition, or a judge that is away
├── FaultError               a soundstage fault file that breaks the contract
└── DemoFailed               the demo's result is not what it must be
"""

from __future__ import annotations


class TonewatchError(Exception):
    """Root of every error raised on purpose. `exit_status` is what a command ends with."""

    exit_status = 1


class SettingsError(TonewatchError):
    """A setting, profile or policy file cannot be used as it is written."""

    exit_status = 2


class StackError(TonewatchError):
    """A part of the stack cannot be started, reached or stopped."""


class AlreadyUp(StackError):
    """The stack is already up."""


class NotUp(StackError):
    """The stack is not up; start it with `tonewatch up`."""


class PortTaken(StackError):
    """A port that was asked for belongs to another process."""


class StateFolderError(StackError):
    """The state folder cannot be used: not writable, of another version, or out of the database user's reach."""


class PartFailed(StackError):
    """A part ended, or did not become healthy in time."""


class WarehouseError(TonewatchError):
    """PostgreSQL refused what was asked of it."""


class WarehouseAway(WarehouseError):
    """PostgreSQL cannot be reached; the same call may succeed later."""


class UnknownTenant(WarehouseError):
    """No tenant of that name."""


class UnknownIncident(WarehouseError):
    """The tenant has no incident of that id."""


class ActRefused(TonewatchError):
    """What a person wants to do with an incident does not fit its state, or was done already; nothing is lost."""


class BoundaryError(TonewatchError):
    """Something outside did not do what was asked of it."""


class SourceError(BoundaryError):
    """Telemetry, a playlist, a segment or a log could not be read.

    `kind` is address, host, refused, unreachable, timeout, broken, status, too-large or unreadable: what a rule needs
    to know of it.
    """

    def __init__(self, message: str = "", *, kind: str = "unreadable") -> None:
        super().__init__(message)
        self.kind = kind

    @property
    def reason(self) -> str:
        """`kind` in the words of a scrape: refused, timeout, status, garbage, huge, reset, unreachable or address."""
        return {"unreadable": "garbage", "too-large": "huge", "broken": "reset"}.get(self.kind, self.kind)


class ChannelError(BoundaryError):
    """A message could not be handed over; it stays in the outbox.

    `retry_after`: seconds that the channel asked us to wait, if it did.
    """

    def __init__(self, message: str = "", *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ChannelRefused(ChannelError):
    """A message was refused for good; another try would be refused too."""


class PlatformError(BoundaryError):
    """The platform refused a remedy."""


class OutcomeUnknown(PlatformError):
    """The call broke off: look the state up, never repeat the call blindly."""


class PayloadError(BoundaryError):
    """What came in at the door cannot be accepted."""


class PayloadTooLarge(PayloadError):
    """What came in at the door is more than may come at once."""


class ModelError(TonewatchError):
    """There is no champion, or a model does not fit the features it is given."""


class ModelUncalibrated(ModelError):
    """No tenant that was asked for has a threshold for the model: its calm was not calibrated for it."""


class ModelUnfit(ModelError):
    """A registered model that cannot score here: of other features, of another format, or changed since."""


class ModelFails(ModelError):
    """A model whose own code, or that of its libraries, failed while it scored. `family`, `version`: whose."""

    def __init__(self, message: str = "", *, family: str = "", version: str = "") -> None:
        super().__init__(message)
        self.family, self.version = family, version


class RecordingError(TonewatchError):
    """A folder is no recording, is damaged or of another version, or cannot be written."""

    exit_status = 2


class FeatureError(TonewatchError):
    """There is no such view or training set, or what is kept of it was computed by another definition."""


class FaultError(TonewatchError):
    """A soundstage fault breaks the contract of docs/faults.md."""

    exit_status = 2


class DemoFailed(TonewatchError):
    """A fault was missed or wrongly mended, or a false incident was opened."""
