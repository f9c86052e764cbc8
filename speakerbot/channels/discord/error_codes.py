"""What Discord's error codes mean for a delivery. The code decides, not the HTTP status.

Source: Discord's documentation of JSON error codes, and the facts measured for this project.
"""

from __future__ import annotations

from speakerbot.ports.channel import RefusalClass

_CODES: dict[RefusalClass, tuple[int, ...]] = {
    "recipient": (50007, 50278, 10013, 50033, 20009, 10003, 10004, 50008, 50024),
    "permission": (50001, 50013, 40058, 160005),
    "archived": (50083,),
    "rejected": (50035, 50006, 40005, 50109, 200000, 240000),
    "transient": (40004, 40006, 40062, 130000, 20016, 20028, 20029),
    "new_dms": (40003,),
    "bot": (40001, 40002, 40333, 20026),
    "token": (50014,),
    "already_sent": (10008,),
}
_BY_CODE = {code: why for why, codes in _CODES.items() for code in codes}
GONE = 10003
QUARANTINED = 20026
_MEANING = {
    50007: "does not take direct messages from this bot",
    50278: "shares no server with the bot",
    10013: "this user does not exist any more",
    10003: "this channel does not exist any more",
    10004: "the bot is not in that server",
    50001: "the bot cannot see this channel",
    50013: "the bot may not write in this channel",
    160005: "this thread is locked",
    40003: "Discord lets the bot open no more DM channels for now",
    20026: "Discord has quarantined the bot",
    200000: "AutoMod refused the text",
}


def classify(status: int, code: int) -> RefusalClass:
    """What an answer that is not a success means. ``code`` is 0 where the body had none."""
    if known := _BY_CODE.get(code):
        return known
    if status == 401:
        return "token"
    if status in (400, 413):
        return "rejected"
    if status in (403, 404):
        return "unreachable"  # no error of Discord's own: somebody else answers at this address
    return "transient"


def explain(status: int, code: int, text: str) -> str:
    """One line for people: what Discord said, in our words where we have them."""
    said = _MEANING.get(code) or " ".join(text.split())[:200] or "no reason given"
    return f"Discord answered {status} {code}: {said}" if code else f"Discord {status}: {said}"
