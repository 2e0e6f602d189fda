"""Settings: read once, refused with the known names, and handed to child processes unchanged."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from tonewatch import settings as settings_module
from tonewatch.errors import SettingsError
from tonewatch.settings import (
    BARE_NAMES,
    KNOWN_CHANNELS,
    LATER_CHANNELS,
    CoolDowns,
    Guardrails,
    Settings,
    default_state_dir,
    load_profile,
    profile_names,
    profile_of,
    read,
    to_environment,
)


def settings_file(folder: Path, text: str) -> dict[str, str]:
    path = folder / "tonewatch.toml"
    path.write_text(text, encoding="utf-8")
    return {"TONEWATCH_SETTINGS_FILE": str(path)}


class TestNames:
    def test_an_unknown_name_lists_all_known_ones(self) -> None:
        with pytest.raises(SettingsError) as refused:
            read({"TONEWATCH_SLACK_WEBHOK_URL": "x"})
        for name in Settings.model_fields:
            assert name in str(refused.value)

    def test_an_unknown_name_suggests_the_nearest(self) -> None:
        with pytest.raises(SettingsError, match="Did you mean slack_webhook_url"):
            read({"TONEWATCH_SLACK_WEBHOK_URL": "x"})

    def test_an_unknown_name_is_quoted_as_it_was_written(self) -> None:
        with pytest.raises(SettingsError, match="unknown setting TONEWATCH_COLOUR"):
            read({"TONEWATCH_COLOUR": "blue"})

    def test_names_of_others_are_left_alone(self) -> None:
        assert read({"PREFECT_API_URL": "http://elsewhere", "PATH": "/bin"}).prefect_api_url is None

    @pytest.mark.parametrize("name", BARE_NAMES)
    def test_the_five_switches_work_without_the_prefix(self, name: str) -> None:
        written = {"ALERT_CHANNELS": "slack", "TENANT_ISOLATION": "strict"}.get(name, "off")
        assert getattr(read({name: written}), name.lower()) == getattr(
            read({f"TONEWATCH_{name}": written}), name.lower()
        )

    def test_only_the_five_switches_work_without_the_prefix(self) -> None:
        assert read({"LOG_LEVEL": "debug"}).log_level == "info"

    @pytest.mark.parametrize("reverse", [False, True])
    def test_with_prefix_wins_over_without(self, reverse: bool) -> None:
        names = [("AUTO_REMEDIATION", "on"), ("TONEWATCH_AUTO_REMEDIATION", "off")]
        assert read(dict(reversed(names) if reverse else names)).auto_remediation is False


class TestValues:
    @pytest.mark.parametrize("name", ["MONITORING_ENABLED", "AI_ANOMALY_DETECTION", "AUTO_REMEDIATION"])
    def test_a_switch_that_is_neither_on_nor_off_lists_what_it_may_be(self, name: str) -> None:
        with pytest.raises(SettingsError, match=r"maybe.*known are true, false, on, off, yes, no, 1, 0"):
            read({name: "maybe"})

    @pytest.mark.parametrize(("written", "meant"), [("on", True), ("0", False), ("No", False), ("TRUE", True)])
    def test_a_switch_understands_the_usual_words(self, written: str, meant: bool) -> None:
        assert read({"AUTO_REMEDIATION": written}).auto_remediation is meant

    @pytest.mark.parametrize("name", LATER_CHANNELS)
    def test_a_channel_of_later_is_refused_with_that_reason(self, name: str) -> None:
        with pytest.raises(SettingsError, match=f"{name} does not work yet.*email, slack"):
            read({"ALERT_CHANNELS": f"email,{name}"})

    def test_an_unknown_channel_lists_the_known(self) -> None:
        with pytest.raises(SettingsError, match="'pigeon' is no channel; known are email, slack"):
            read({"ALERT_CHANNELS": "pigeon"})

    def test_no_channel_is_a_choice(self) -> None:
        assert read({"ALERT_CHANNELS": ""}).alert_channels == ()

    @pytest.mark.parametrize("value", ["off", "none", "", "loose"])
    def test_isolation_cannot_be_switched_off(self, value: str) -> None:
        with pytest.raises(SettingsError, match="strict"):
            read({"TENANT_ISOLATION": value})

    def test_an_unknown_profile_lists_the_known(self) -> None:
        with pytest.raises(SettingsError) as refused:
            read({"TONEWATCH_PROFILE": "shed"})
        for name in profile_names():
            assert name in str(refused.value)

    @pytest.mark.parametrize("tenant", ["", "Radio One", "a" * 41, "a_b", "../x", "radio\n"])
    def test_a_tenant_is_a_slug(self, tenant: str) -> None:
        with pytest.raises(SettingsError, match="no tenant name"):
            read({"TONEWATCH_TENANT": tenant})

    @pytest.mark.parametrize("port", ["0", "65536", "-1", "http", "1.5"])
    def test_a_port_that_is_none_is_refused_by_name(self, port: str) -> None:
        with pytest.raises(SettingsError, match="gateway_port"):
            read({"TONEWATCH_GATEWAY_PORT": port})

    def test_an_unknown_log_level_lists_the_known(self) -> None:
        with pytest.raises(SettingsError, match="'debug', 'info', 'warning' or 'error'"):
            read({"TONEWATCH_LOG_LEVEL": "loud"})

    def test_all_wrong_values_are_told_at_once(self) -> None:
        with pytest.raises(SettingsError, match=r"(?s)monitoring_enabled.*tenant"):
            read({"MONITORING_ENABLED": "perhaps", "TONEWATCH_TENANT": "NO"})

    @pytest.mark.parametrize("name", ["REDIS_URL", "PREFECT_API_URL", "GATEWAY_PORT", "SLACK_WEBHOOK_URL"])
    def test_empty_is_unset_where_unset_is_possible(self, name: str) -> None:
        assert getattr(read({f"TONEWATCH_{name}": ""}), name.lower()) is None

    def test_secrets_do_not_show(self) -> None:
        settings = read({"TONEWATCH_DATABASE_URL": "postgresql://app:hush@db/tonewatch"})
        assert "hush" not in repr(settings)
        assert "hush" not in str(settings.model_dump())

    def test_a_refused_secret_does_not_show_either(self, tmp_path: Path) -> None:
        with pytest.raises(SettingsError) as refused:
            read(settings_file(tmp_path, 'database_url = ["hush"]'))
        assert "hush" not in str(refused.value)
        assert "hush" not in str(refused.value.__cause__)

    def test_settings_do_not_change_once_read(self) -> None:
        with pytest.raises(ValueError, match="frozen"):
            read({}).auto_remediation = False  # type: ignore[misc]  # that it cannot be done is what is tested


class TestFile:
    def test_a_file_is_read(self, tmp_path: Path) -> None:
        settings = read(
            settings_file(tmp_path, 'tenant = "radio-one"\nauto_remediation = false\nmail_to = ["a@b", "c@d"]')
        )
        assert (settings.tenant, settings.auto_remediation) == ("radio-one", False)
        assert settings.mail_to == ("a@b", "c@d")

    def test_the_environment_wins_over_the_file(self, tmp_path: Path) -> None:
        environment = settings_file(tmp_path, 'tenant = "from-file"\nlog_level = "debug"')
        settings = read({**environment, "TONEWATCH_TENANT": "from-environment"})
        assert (settings.tenant, settings.log_level) == ("from-environment", "debug")

    def test_the_environment_without_prefix_wins_over_the_file_too(self, tmp_path: Path) -> None:
        environment = settings_file(tmp_path, "auto_remediation = true")
        assert read({**environment, "AUTO_REMEDIATION": "off"}).auto_remediation is False

    def test_a_wrong_key_names_the_file_and_lists_the_known(self, tmp_path: Path) -> None:
        with pytest.raises(
            SettingsError, match=r"auto_mend \(in .*tonewatch.toml\).*Known settings: monitoring_enabled"
        ):
            read(settings_file(tmp_path, "auto_mend = true"))

    @pytest.mark.parametrize("text", ["tenant = ", "\x00", "[tonewatch]\ntenant = 'a'\ntenant = 'b'"])
    def test_a_file_that_is_no_toml_says_so(self, tmp_path: Path, text: str) -> None:
        with pytest.raises(SettingsError, match="is no TOML"):
            read(settings_file(tmp_path, text))

    def test_a_file_in_another_encoding_says_so(self, tmp_path: Path) -> None:
        path = tmp_path / "tonewatch.toml"
        path.write_bytes('tenant = "Jörg"'.encode("latin-1"))
        with pytest.raises(SettingsError, match="is no TOML"):
            read({"TONEWATCH_SETTINGS_FILE": str(path)})

    @pytest.mark.parametrize("name", ["gone.toml", "."])
    def test_a_file_that_cannot_be_read_says_why(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(SettingsError, match=r"cannot be read: (No such file|Is a directory)"):
            read({"TONEWATCH_SETTINGS_FILE": str(tmp_path / name)})

    def test_a_table_is_no_setting(self, tmp_path: Path) -> None:
        with pytest.raises(SettingsError, match="unknown setting database"):
            read(settings_file(tmp_path, "[database]\nurl = 'x'"))


class TestAddresses:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("INVENTORY_URL", "platform.example/inventory"),
            ("SUPERVISOR_URL", "unix:///run/supervisor.sock"),
            ("SMTP_URL", "http://mail.example"),
            ("SLACK_WEBHOOK_URL", "hooks.example"),
            ("MAIL_TO", "oncall"),
            ("MAIL_TO", "on call@radio.example"),
        ],
    )
    def test_what_is_no_address_is_refused_at_once(self, name: str, value: str) -> None:
        with pytest.raises(SettingsError, match=name.lower()):
            read({f"TONEWATCH_{name}": value})


class TestStateFolder:
    def test_a_relative_folder_means_the_same_from_everywhere(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert read({"TONEWATCH_STATE_DIR": "here"}).state_dir == tmp_path / "here"

    def test_home_may_be_written_short(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", "/somewhere")
        assert read({"TONEWATCH_STATE_DIR": "~/tonewatch"}).state_dir == Path("/somewhere/tonewatch")

    @pytest.mark.skipif(os.geteuid() == 0, reason="root's default is fixed")
    def test_an_ordinary_user_keeps_state_at_home(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("XDG_STATE_HOME", raising=False)
        monkeypatch.setenv("HOME", "/somewhere")
        assert default_state_dir() == Path("/somewhere/.local/state/tonewatch")

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root's default")
    def test_root_keeps_state_where_services_do(self) -> None:
        assert default_state_dir() == Path("/var/lib/tonewatch")


class TestChildProcesses:
    def test_defaults_survive(self) -> None:
        settings = read({})
        assert read(to_environment(settings)) == settings

    def test_secrets_are_handed_on_in_clear(self) -> None:
        assert (
            to_environment(read({"TONEWATCH_REDIS_URL": "redis://:pw@h/0"}))["TONEWATCH_REDIS_URL"] == "redis://:pw@h/0"
        )

    def test_a_comma_separates_in_a_files_list_too(self, tmp_path: Path) -> None:
        settings = read(settings_file(tmp_path, 'mail_to = ["a@b, c@d"]'))
        assert read(to_environment(settings)) == settings
        assert settings.mail_to == ("a@b", "c@d")

    @given(st.data())
    def test_any_settings_survive(self, data: st.DataObject) -> None:
        settings = Settings(**data.draw(_values()))
        assert read(to_environment(settings)) == settings


class TestProfiles:
    @pytest.mark.parametrize("name", profile_names())
    def test_each_profile_can_be_read(self, name: str) -> None:
        assert load_profile(name).description

    def test_an_unknown_profile_lists_the_known(self) -> None:
        with pytest.raises(SettingsError, match=f"known are {', '.join(profile_names())}"):
            load_profile("shed")

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("description: x\ntik_seconds: 5", "tik_seconds: unknown key; known are description, tick_seconds"),
            ("description: x\ntick_seconds: 0", "tick_seconds: Input should be greater than 0"),
            ("description: x\ngrants: [{runbook: r, causes: [crsh], entities: [], granted_by: a, reason: b}]", "crash"),
            ("tick_seconds: 5", "description: Field required"),
            ("description: [", "while parsing"),
            ("", "valid dictionary"),
        ],
    )
    def test_a_wrong_profile_says_what_is_wrong(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, told: str
    ) -> None:
        monkeypatch.setattr(settings_module, "PROFILES", tmp_path)
        (tmp_path / f"{abs(hash(text))}.yaml").write_text(text, encoding="utf-8")
        with pytest.raises(SettingsError) as refused:
            load_profile(str(abs(hash(text))))
        assert told in str(refused.value)


# No NUL: an environment variable cannot hold one. Something in it: an empty word is an unset one.
_words = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=30)
_secrets = st.none() | _words.map(SecretStr)
_addresses = st.lists(st.from_regex(r"[a-z]{1,8}@[a-z]{1,8}", fullmatch=True), max_size=3).map(tuple)


def _values() -> st.SearchStrategy[dict[str, Any]]:
    ports = st.none() | st.integers(1, 65535)
    return st.fixed_dictionaries(
        {
            "monitoring_enabled": st.booleans(),
            "ai_anomaly_detection": st.booleans(),
            "auto_remediation": st.booleans(),
            "alert_channels": st.lists(st.sampled_from(KNOWN_CHANNELS), unique=True).map(tuple),
            "state_dir": st.from_regex(r"/[a-z /.]{0,20}", fullmatch=True),
            "profile": st.sampled_from(profile_names()),
            "tenant": st.from_regex(r"[a-z0-9-]{1,40}", fullmatch=True),
            "database_url": _secrets,
            "redis_url": _secrets,
            "prefect_api_url": st.none() | _words,
            "gateway_port": ports,
            "mail_from": _words,
            "mail_to": _addresses,
            "smtp_url": st.none() | st.from_regex(r"smtps?://[a-z]{1,9}(:[1-9][0-9]{0,3})?", fullmatch=True),
            "log_level": st.sampled_from(["debug", "info", "warning", "error"]),
        }
    )


def test_an_unknown_key_deep_in_a_profile_names_the_keys_that_are_known_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings_module, "PROFILES", tmp_path)
    for text, told in (
        ("guardrails: {concurent: 9}", "guardrails.concurent: unknown key; known are blast_share, "),
        ("guardrails: {cool_down_seconds: {reboot: 1}}", "reboot: unknown key; known are restart, kill_and_restart"),
        ("guardrails: {freezes: [{until: 1}]}", "until: unknown key; known are started, ended, reason"),
        ("grants: [{runbok: restart}]", "runbok: unknown key; known are runbook, causes"),
    ):
        name = str(len(list(tmp_path.iterdir())))
        (tmp_path / f"{name}.yaml").write_text(f"description: x\n{text}\n", encoding="utf-8")
        with pytest.raises(SettingsError) as raised:
            load_profile(name)
        assert told in str(raised.value)


def test_the_demo_says_which_limits_are_wider_and_the_platform_has_none() -> None:
    opened = load_profile("demo").guardrails.opened()
    assert "actions in 15 minutes: 16 instead of 5" in opened
    assert "cool-down of rollback: 120 s instead of 3600 s" in opened
    assert load_profile("platform").guardrails.opened() == []


def test_a_narrower_limit_is_not_told_as_opened() -> None:
    narrow = Guardrails(actions_per_day=1, steady_readings=9, cool_down_seconds=CoolDowns(drain=9e9))
    assert narrow.opened() == []
    assert Guardrails().opened(narrow) != []


def test_every_limit_of_the_guardrails_can_be_told_as_opened() -> None:
    numbers = {name for name, field in Guardrails.model_fields.items() if field.annotation in (int, float)}
    for name in numbers:
        told = [Guardrails(**{name: value}).opened() for value in (0.05, 1, 0, 0.5, 1_000_000) if _fits(name, value)]
        assert any(told), name


def _fits(name: str, value: float) -> bool:
    try:
        Guardrails(**{name: value})
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"icecast": {"url": "http://r.example:8000"}}, "mounts"),
        ({"icecast": {"url": "http://r.example:8000", "mounts": []}}, "mounts"),
        ({"icecast": {"url": "http://r.example:8000", "mounts": ["//elsewhere.example/x"]}}, "mounts"),
        ({"icecast": {"url": "http://ann:pass@r.example", "mounts": ["/a"]}}, "user and password"),
        ({"icecast": {"url": "file:///etc", "mounts": ["/a"]}}, "http://"),
        ({"hls": {"url": "http://r.example/m.m3u8", "renditions": ["http://localhost/low.m3u8"]}}, "another host"),
        ({"hls": {"url": "http://r.example/m.m3u8", "renditions": ["//127.0.0.1/low.m3u8"]}}, "another host"),
        ({"hls": {"url": "http://r.example/m.m3u8", "renditions": ["file:///etc/passwd"]}}, "no address"),
        ({"hls": {"url": "http://r.example/m.m3u8", "hosts": ["http://cdn.example"]}}, "hosts"),
    ],
)
def test_a_station_that_leads_elsewhere_is_refused(own: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        profile_of("station", {"sources": own})


def test_a_station_is_read_with_its_own_length_of_silence_and_the_hosts_that_are_allowed() -> None:
    hls = {"url": "http://r.example/live/m.m3u8", "renditions": ["low.m3u8", "http://cdn.example/hi.m3u8"]}
    own = {"hls": hls | {"hosts": ["cdn.example"], "silence_seconds": 30}}
    profile = profile_of("station", {"sources": own})
    assert profile.sources.hls is not None
    assert profile.sources.hls.addresses == ("http://r.example/live/low.m3u8", "http://cdn.example/hi.m3u8")
    assert profile.silence_in("rendition:hls/live/low.m3u8") == 30
    assert profile.silence_in("rendition:ch1/aac-128") == profile.silence_seconds


def test_a_light_profile_starts_neither_mlflow_nor_a_worker() -> None:
    from console.stack.parts import PARTS, parts_for  # imports what starts servers

    left_out = {part.name for part in PARTS} - {part.name for part in parts_for(Settings(profile="station"))}
    assert left_out == {"mlflow", "pool", "worker", "deployments"}
    assert parts_for(Settings(profile="platform")) == PARTS
