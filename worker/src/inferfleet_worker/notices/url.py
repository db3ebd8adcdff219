"""Any other machine: a JSON document behind a URL, for private clouds and for trying things out.

`404`, `204` or an empty body mean that nothing stands. Otherwise
`{"kind": "interruption" | "maintenance" | "rebalance", "deadline": EPOCH_SECONDS or null, "detail": TEXT}`,
all of it optional.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING

from inferfleet_wire import MetadataSource, Notice, NoticeKind, codec

if TYPE_CHECKING:
    import aiohttp

NOTICE_SECONDS = 30.0
"""The shortest that the large clouds promise."""


class Url:
    """Asks the URL as it is."""

    def __init__(self, settings: MetadataSource) -> None:
        self._url = settings.url
        self._notice_seconds = settings.notice_seconds or NOTICE_SECONDS

    async def poll(self, session: aiohttp.ClientSession, now: float) -> tuple[Notice, ...]:
        """At most one notice."""
        async with session.get(self._url) as answer:
            if answer.status in {HTTPStatus.NOT_FOUND, HTTPStatus.NO_CONTENT}:
                return ()
            answer.raise_for_status()
            body = await answer.text()
        if not body.strip():
            return ()
        fields = {"kind": NoticeKind.INTERRUPTION.value, **codec.as_object(json.loads(body), "notice")}
        kind = codec.choice(NoticeKind, fields, "kind")
        deadline = codec.optional_number(fields, "deadline")
        if deadline is None and kind is not NoticeKind.REBALANCE:
            deadline = now + self._notice_seconds
        return (Notice(kind, deadline, "url", codec.text(fields, "detail", ""), now),)
