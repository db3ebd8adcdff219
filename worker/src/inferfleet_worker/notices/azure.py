"""Azure: scheduled events of this machine.

https://learn.microsoft.com/azure/virtual-machines/linux/scheduled-events. The service lists the events of all
machines of the scale set, so those that do not name this one are left out.
"""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from inferfleet_wire import MetadataSource, Notice, NoticeKind, codec

if TYPE_CHECKING:
    from collections.abc import Mapping

    import aiohttp

HOME = "http://169.254.169.254"
NOTICE_SECONDS = 30.0
"""The least that a spot machine gets between `Preempt` and the end."""

KINDS = {
    "Preempt": NoticeKind.INTERRUPTION,
    "Terminate": NoticeKind.INTERRUPTION,
    "Redeploy": NoticeKind.MAINTENANCE,
    "Reboot": NoticeKind.MAINTENANCE,
}
"""`Freeze` pauses the machine for seconds and ends nothing."""


class Azure:
    """Learns the machine's own name once, then reads the event list."""

    def __init__(self, settings: MetadataSource) -> None:
        self._home = settings.url or HOME
        self._notice_seconds = settings.notice_seconds or NOTICE_SECONDS
        self._name = ""

    async def poll(self, session: aiohttp.ClientSession, now: float) -> tuple[Notice, ...]:
        """One notice for each event that ends this machine."""
        if not self._name:
            self._name = await self._get_name(session)
        events = await self._get_events(session)
        return tuple(
            self._notice(event, now)
            for event in events
            if self._name in event.get("Resources", ()) and event.get("EventType") in KINDS
        )

    def _notice(self, event: Mapping[str, Any], now: float) -> Notice:
        """An event that has started carries no `NotBefore` any more."""
        not_before = event.get("NotBefore", "")
        deadline = parsedate_to_datetime(not_before).timestamp() if not_before else now + self._notice_seconds
        kind = event["EventType"]
        return Notice(KINDS[kind], deadline, "azure", f"{kind} {event.get('EventId', '')}".strip(), now)

    async def _get_name(self, session: aiohttp.ClientSession) -> str:
        url = f"{self._home}/metadata/instance/compute/name?api-version=2021-02-01&format=text"
        async with session.get(url, headers={"Metadata": "true"}) as answer:
            answer.raise_for_status()
            return (await answer.text()).strip()

    async def _get_events(self, session: aiohttp.ClientSession) -> list[Mapping[str, Any]]:
        url = f"{self._home}/metadata/scheduledevents?api-version=2020-07-01"
        async with session.get(url, headers={"Metadata": "true"}) as answer:
            answer.raise_for_status()
            document = codec.as_object(await answer.json(content_type=None), "scheduled events")
        return [codec.as_object(event, "event") for event in codec.as_list(document.get("Events"), "Events")]
