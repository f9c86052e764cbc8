"""Unknown fields: values of MongoDB's own types cross the port as relaxed Extended JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def from_bson(fields: Mapping[str, Any]) -> dict[str, Any]:
    """As plain JSON values: a date becomes ``{"$date": …}``, an id ``{"$oid": …}``."""
    if not fields:
        return {}
    from bson import json_util

    text = json_util.dumps(fields, json_options=json_util.RELAXED_JSON_OPTIONS)
    plain: dict[str, Any] = json.loads(text)
    return plain


def to_bson(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Back again. Raises ValueError or TypeError where an Extended JSON value makes no sense."""
    if not fields:
        return {}
    from bson import json_util
    from bson.codec_options import DatetimeConversion

    # Dates that Python's calendar does not have stay what they are, as where they are read.
    options = json_util.JSONOptions(datetime_conversion=DatetimeConversion.DATETIME_AUTO)
    typed: dict[str, Any] = json_util.loads(json.dumps(fields), json_options=options)
    return typed
