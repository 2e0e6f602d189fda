"""Adding tenants, and showing and changing how they are watched; each change with its line in the audit."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tonewatch.clock import SYSTEM, Clock
from tonewatch.errors import ActRefused, ModelError, SettingsError
from tonewatch.records import TENANT_SLUG, Tenant
from tonewatch.settings import Profile, load_profile, profile_of
from warehouse import audit, settings_versions, tenants
from warehouse.database import Warehouse
from warehouse.settings_versions import SettingsVersion

if TYPE_CHECKING:
    from flows.gate import Ruling  # its module imports what replays
    from tonewatch.settings import Settings

#: What a change is held against before it is made: the tenant, how it is watched, and how it would be.
Gate = Callable[[str, Profile, Profile], Awaitable["Ruling"]]


@dataclass(frozen=True, slots=True)
class Change:
    """What is wanted of a tenant's settings; of `file`, `revert` and the others only one kind at once."""

    set: tuple[str, ...] = ()
    unset: tuple[str, ...] = ()
    file: Path | None = None
    revert: int | None = None
    profile: str | None = None

    @property
    def wanted(self) -> bool:
        """Whether anything is."""
        return bool(self.set or self.unset or self.profile) or self.file is not None or self.revert is not None


@dataclass(frozen=True, slots=True)
class Changed:
    """What a change did. `keys`: dotted key -> (value before, value now) of the settings in force.

    worse: recorded case -> why, where some get worse: then nothing was changed, and `version` and `profile` are as they
    were; cases: that were replayed; note: why none was.
    """

    tenant: str
    version: int
    profile: str
    keys: Mapping[str, tuple[Any, Any]]
    worse: Mapping[str, str] = field(default_factory=dict)
    cases: int = 0
    note: str = ""

    @property
    def refused(self) -> bool:
        """Whether the recorded cases kept it from being made."""
        return bool(self.worse)

    def lines(self) -> list[str]:
        """For people."""
        told = [f"settings of {self.tenant}: version {self.version}, over profile {self.profile}"]
        told += [f"  {key}: {before!r} -> {now!r}" for key, (before, now) in self.keys.items()]
        if self.refused:
            return [
                *(f"worse   {case}: {why}" for case, why in self.worse.items()),
                f"refused: {len(self.worse)} of {self.cases} recorded cases get worse, and the settings of "
                f"{self.tenant} stay at version {self.version}; `tonewatch tenants settings --unproven --reason WHY` "
                "makes the change all the same",
            ]
        if self.cases:
            told.append(f"  none of {self.cases} recorded cases gets worse")
        if self.note:
            told.append(f"  {self.note}")
        return told if self.keys else [*told, "  nothing reads differently now"]


@dataclass(frozen=True, slots=True)
class Shown:
    """The settings in force. `own`: what the tenant has changed; `effective`: everything."""

    tenant: str
    profile: str
    version: SettingsVersion
    own: Mapping[str, Any]
    effective: Mapping[str, Any]

    def text(self) -> str:
        """For people: YAML, each own setting marked."""
        own = flat(self.own)
        head = f"# {self.tenant}: profile {self.profile}, version {self.version.version} ({self.version.reason})"
        lines = [f"{key}: {value!r}" + ("  # own" if key in own else "") for key, value in flat(self.effective).items()]
        return "\n".join([head, *lines])


@dataclass(frozen=True, slots=True)
class Tenancy:
    """The work on tenants, over the warehouse of the running stack."""

    warehouse: Warehouse
    clock: Clock = SYSTEM

    async def add(self, slug: str, name: str, profile: str, who: str, reason: str) -> Tenant:
        """Add a tenant. Raises SettingsError: no such profile, no such name; ActRefused: it is there already."""
        if not TENANT_SLUG.fullmatch(slug):
            raise SettingsError(f"{slug!r} is no tenant name: 1 to 40 of a-z, 0-9 and -")
        load_profile(profile)
        now = self.clock.now()
        async with self.warehouse.as_tenant(slug) as db:
            if not await tenants.add(slug, db, name=name, profile=profile, at=now):
                raise ActRefused(f"there is a tenant {slug!r} already; `tonewatch tenants settings {slug}` shows it")
            after = {"name": name, "profile": profile}
            await audit.write(
                slug, db, who=who, what="tenant.add", subject=slug, before={}, after=after, reason=reason, at=now
            )
            return await tenants.get(slug, db)

    async def all(self) -> list[Tenant]:
        """Every tenant, by name."""
        async with self.warehouse.as_dispatcher() as db:
            slugs = await tenants.slugs(db)
        found = []
        for slug in slugs:
            async with self.warehouse.as_tenant(slug) as db:
                found.append(await tenants.get(slug, db))
        return found

    async def show(self, slug: str) -> Shown:
        """The settings in force. Raises UnknownTenant."""
        async with self.warehouse.as_tenant(slug) as db:
            version = await settings_versions.current(slug, db)
        effective = profile_of(version.profile, version.settings)
        return Shown(slug, version.profile, version, version.settings, effective.model_dump(mode="json"))

    async def profile(self, slug: str) -> Profile:
        """How the tenant is watched now. Raises UnknownTenant."""
        async with self.warehouse.as_tenant(slug) as db:
            return await tenants.profile(slug, db)

    async def history(self, slug: str) -> list[SettingsVersion]:
        """Every version. Raises UnknownTenant."""
        async with self.warehouse.as_tenant(slug) as db:
            return await settings_versions.history(slug, db)

    async def change(
        self, slug: str, change: Change, who: str, reason: str, *, gate: Gate | None = None, unproven: bool = False
    ) -> Changed:
        """Make the change, or leave everything as it was and say why.

        gate: what it is held against first, None: nothing; what takes a version back is not, as it must be quick.
        unproven: whatever the gate would say, which stands in the audit with the reason. Raises UnknownTenant;
        SettingsError: a key, value or version that is none, or nothing proven and no reason; ActRefused: somebody was
        quicker; ModelError: the gate cannot tell.
        """
        if unproven and not reason:
            raise SettingsError("what is not proven by recorded cases needs its reason: --reason WHY")
        async with self.warehouse.as_tenant(slug) as db:
            before = await settings_versions.current(slug, db)
            versions = await settings_versions.history(slug, db) if change.revert is not None else []
        own, profile = settings_after(change, before, versions)
        was, now_is = profile_of(before.profile, before.settings), profile_of(profile, own)
        keys, worse, cases, note = differing(was, now_is), {}, 0, ""
        if gate is not None and not unproven and change.revert is None:
            ruling = await gate(slug, was, now_is)
            worse, cases, note = dict(ruling.worse), ruling.cases, ruling.note
        if worse:
            return Changed(slug, before.version, before.profile, keys, worse, cases, note)
        now = self.clock.now()
        async with self.warehouse.as_tenant(slug) as db:
            version = await settings_versions.put(
                slug, db, profile=profile, settings=own, over=before.version, who=who, reason=reason, at=now
            )
            told = [{key: each[side] for key, each in keys.items()} for side in (0, 1)]
            if profile != before.profile:
                told = [told[0] | {"profile": before.profile}, told[1] | {"profile": profile}]
            after = told[1] | {"version": version} | ({"unproven": True} if unproven else {})
            await audit.write(
                slug,
                db,
                who=who,
                what="settings.change",
                subject=slug,
                before=told[0],
                after=after,
                reason=reason,
                at=now,
            )
        return Changed(slug, version, profile, keys, worse, cases, note)


def recorded(settings: Settings, warehouse: Warehouse, say: Callable[[str], None], clock: Clock = SYSTEM) -> Gate:
    """The gate of a change of settings: the tenant's recorded cases. say: how far it is, as it takes a while."""

    async def gate(slug: str, was: Profile, now_is: Profile) -> Ruling:
        from flows.gate import ruled_settings  # imports what replays: seconds that showing settings does not pay

        try:
            return await ruled_settings(slug, settings, warehouse, was, now_is, clock.now(), say)
        except ModelError as error:
            raise ModelError(
                f"the recorded cases of {slug} cannot be asked, and nothing was changed; --unproven makes the change "
                f"all the same ({error})"
            ) from error

    return gate


def settings_after(
    change: Change, before: SettingsVersion, versions: Sequence[SettingsVersion]
) -> tuple[dict[str, Any], str]:
    """The tenant's own settings after the change, and its profile. Raises SettingsError."""
    kinds = (change.file is not None, change.revert is not None, bool(change.set or change.unset))
    if sum(kinds) > 1 or (change.revert is not None and change.profile is not None):
        raise SettingsError("only one of --set/--unset, --from and --revert at once; --revert brings its own profile")
    if change.revert is not None:
        known = {version.version: version for version in versions}
        if change.revert not in known:
            raise SettingsError(f"there is no version {change.revert}; there are {', '.join(map(str, sorted(known)))}")
        return dict(known[change.revert].settings), known[change.revert].profile
    return _own(change, before), change.profile or before.profile


def _own(change: Change, before: SettingsVersion) -> dict[str, Any]:
    if change.file is not None:
        return _of_file(change.file)
    own = nested(flat(before.settings))
    for key in change.unset:
        _take_out(own, key)
    _set(own, change.set)
    return own


def written(lines: Sequence[str], file: Path | None) -> dict[str, Any]:
    """Settings as `--from` and `--set` tell them, the lines over the file. Raises SettingsError."""
    own = {} if file is None else _of_file(file)
    _set(own, lines)
    return own


def _set(own: dict[str, Any], lines: Sequence[str]) -> None:
    for line in lines:
        key, sign, value = line.partition("=")
        if not sign or not key.strip():
            raise SettingsError(f"{line!r} sets nothing: write KEY=VALUE")
        _put_in(own, key.strip(), _yaml(value, f"the value of {key}"))


def flat(settings: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Dotted key -> value; lists are values."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{before}{key}.")
        else:
            found[f"{before}{key}"] = value
    return found


def nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The opposite of `flat`."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        _put_in(found, key, value)
    return found


def differing(before: Profile, after: Profile) -> dict[str, tuple[Any, Any]]:
    """Dotted key -> its two values, of those that differ."""
    was, now_is = (flat(each.model_dump(mode="json")) for each in (before, after))
    keys = sorted(was.keys() | now_is.keys())
    return {key: (was.get(key), now_is.get(key)) for key in keys if was.get(key) != now_is.get(key)}


def _put_in(settings: dict[str, Any], key: str, value: Any) -> None:
    *path, last = key.split(".")
    for step in path:
        below = settings.setdefault(step, {})
        if not isinstance(below, dict):
            raise SettingsError(f"{key}: {step} holds a value and no keys")
        settings = below
    settings[last] = value


def _take_out(settings: dict[str, Any], key: str) -> None:
    head, _, rest = key.partition(".")
    if head not in settings or (rest and not isinstance(settings[head], dict)):
        raise SettingsError(f"{key} is no setting of the tenant's own: nothing to take back")
    if not rest:
        del settings[head]
        return
    _take_out(settings[head], rest)
    if not settings[head]:
        del settings[head]


def _of_file(path: Path) -> dict[str, Any]:
    try:
        found = _yaml(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from error
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise SettingsError(f"{path} holds no settings: write keys of a profile, as in deployments/tenants")
    return found


def _yaml(text: str, what: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SettingsError(f"{what} is no YAML: {error}") from error
