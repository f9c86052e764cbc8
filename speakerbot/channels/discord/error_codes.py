"""What Discord's answers mean for a delivery. The JSON code decides, then the answer's shape; never
a guess that the service is down.

Source: Discord's documentation of JSON error codes, and the facts measured for this project.
"""

from __future__ import annotations

from speakerbot.ports.channel import RefusalClass

_CODES: dict[RefusalClass, tuple[int, ...]] = {
    RefusalClass.RECIPIENT: (50007, 50278, 10013, 50033, 20009),
    RefusalClass.TARGET: (
        10003, 10004, 50001, 50013, 50008, 50024, 50083, 40058, 160005, 160006,
    ),
    RefusalClass.REJECTED: (50035, 50006, 40005, 50109, 200000, 240000),
    RefusalClass.SERVICE: (40003, 40004, 40006, 40062, 130000, 20016, 20028, 20029, 30046),
    RefusalClass.BOT: (40001, 40002, 40333, 20026),
    RefusalClass.TOKEN: (50014,),
    RefusalClass.ALREADY_SENT: (10008,),
    RefusalClass.DELETED: (10070,),
}  # fmt: skip
_BY_CODE = {code: why for why, codes in _CODES.items() for code in codes}
UNKNOWN_CHANNEL = 10003
ARCHIVED = 50083
NO_NEW_DMS = 40003
NO_ACCESS = 50001
NOT_OURS = 50005
NO_PERMISSION = 50013
UNKNOWN_EVENT = 10070
EVENT_OVER = 180000
TOO_MANY_EVENTS = 30038
_MEANING = {
    50007: "does not take direct messages from this bot",
    50278: "takes no direct messages from members of the server, or shares no server with the bot",
    10013: "this user does not exist any more",
    10003: "this channel does not exist any more",
    10004: "the bot is not in that server",
    50001: "the bot cannot see this channel",
    50013: "the bot may not write in this channel",
    50005: "another account wrote that message",
    50083: "this thread is archived",
    160005: "this thread is locked",
    160006: "the server has too many active threads",
    40003: "Discord lets the bot open no more DM channels for now",
    10070: "this event does not exist any more",
    30038: "the server has as many events as Discord allows, 100",
    180000: "this event is over",
    20026: "Discord has quarantined the bot",
    200000: "AutoMod refused the text",
}
_NOT_ABOUT_A_RECIPIENT = (400, 401, 413, 429)


def classify(status: int, code: int | None) -> RefusalClass:
    """What an answer that is not a success means. ``code`` is the one in Discord's own JSON; None
    where the body is not that: then somebody else answered, a proxy or a service in trouble."""
    if code is None or status >= 500 or status == 429:
        return RefusalClass.SERVICE
    if known := _BY_CODE.get(code):
        return known
    if status == 401:
        return RefusalClass.TOKEN
    # Codes appear faster than tables: one that is not about the request is about its target.
    if (code and status not in _NOT_ABOUT_A_RECIPIENT) or status in (403, 404, 405):
        return RefusalClass.RECIPIENT
    return RefusalClass.REJECTED


def explain(status: int, code: int | None, text: str) -> str:
    """One line for people: what Discord said, in our words where we have them."""
    said = _MEANING.get(code or 0) or " ".join(text.split())[:200] or "no reason given"
    return f"Discord answered {status} {code}: {said}" if code else f"Discord {status}: {said}"
