"""Exit codes are stable: schedulers and scripts go by them."""

from __future__ import annotations

from speakerbot import errors

CODES = {
    errors.SpeakerbotError: 1,
    errors.UsageError: 2,
    errors.InputRefused: 65,
    errors.DamagedTalk: 65,
    errors.DateTaken: 65,
    errors.NotFound: 65,
    errors.SourceRefused: 65,
    errors.Unreachable: 69,
    errors.StoreLocked: 75,
    errors.TokenRefused: 77,
    errors.ConfigError: 78,
    errors.StoreCorrupt: 78,
    errors.StoreTooNew: 78,
    errors.TemplateError: 78,
}


def test_each_error_has_its_exit_code() -> None:
    kinds = {each for each in vars(errors).values() if isinstance(each, type)}
    ours = {each for each in kinds if issubclass(each, errors.SpeakerbotError)}
    assert {kind: kind.exit_code for kind in ours} == CODES


def test_all_problems_are_in_the_message() -> None:
    assert str(errors.ConfigError("A: missing", "B: wrong")) == "A: missing\nB: wrong"
    refused = errors.InputRefused("talks.csv", ["line 3: no date", "line 9: no topic"])
    assert str(refused) == (
        "talks.csv: nothing was imported:\n  line 3: no date\n  line 9: no topic"
    )
