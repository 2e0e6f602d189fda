"""What keeps people from being told, in words that say what to set."""

from __future__ import annotations

import pytest

from console.standing import lacking, other_profile
from tonewatch.records import Tenant
from tonewatch.settings import Settings

MAIL = {"smtp_url": "smtp://mail:25", "mail_to": ("ops@radio.example",)}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (MAIL, []),
        ({}, ["set TONEWATCH_SMTP_URL and TONEWATCH_MAIL_TO for"]),
        ({"smtp_url": "smtp://mail:25"}, ["set TONEWATCH_MAIL_TO for"]),
        ({"alert_channels": ()}, ["set ALERT_CHANNELS to email or slack"]),
        (MAIL | {"alert_channels": ("email", "slack")}, ["set TONEWATCH_SLACK_WEBHOOK_URL, or"]),
        ({"alert_channels": ("slack",), "slack_bot_token": "x"}, ["set TONEWATCH_SLACK_WEBHOOK_URL, or"]),
        ({"alert_channels": ("slack",), "slack_bot_token": "x", "slack_channel": "C1"}, []),
    ],
)
def test_a_channel_that_is_not_set_up_says_what_to_set(given: dict[str, object], said: list[str]) -> None:
    found = lacking(Settings.model_validate(given))
    assert len(found) == len(said)
    assert all(part in line for part, line in zip(said, found, strict=True))


def test_another_profile_than_the_tenants_is_told_with_the_command_that_changes_it() -> None:
    settings = Settings(tenant="radio", profile="platform")
    held = Tenant("radio", "Radio", "station", 3)
    (told,) = other_profile(settings, held)
    assert "radio is watched by the profile station, as its own settings say (version 3), not by platform" in told
    assert "`tonewatch tenants settings radio --profile platform`" in told
    assert "The parts that run are those of platform" in told
    assert other_profile(settings, Tenant("radio", "Radio", "platform", 3)) == []
