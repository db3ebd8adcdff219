"""Google Compute Engine: preemption and host maintenance.

https://cloud.google.com/compute/docs/instances/preemptible and
https://cloud.google.com/compute/docs/metadata/getting-live-migration-notice. A preempted machine has 30 s,
of which GKE's graceful node shutdown gives the first 15 s to ordinary pods
(https://cloud.google.com/kubernetes-engine/docs/concepts/spot-vms).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from inferfleet_wire import MetadataSource, Notice, NoticeKind

if TYPE_CHECKING:
    import aiohttp

HOME = "http://metadata.google.internal"
NOTICE_SECONDS = 15.0
MAINTENANCE_SECONDS = 3600.0
"""The notice that machines with GPUs get before host maintenance."""

ENDING_MAINTENANCE = "TERMINATE_ON_HOST_MAINTENANCE"


class Gcp:
    """Neither value carries an instant: deadlines are counted from when they are first seen."""

    def __init__(self, settings: MetadataSource) -> None:
        self._home = settings.url or HOME
        self._notice_seconds = settings.notice_seconds or NOTICE_SECONDS

    async def poll(self, session: aiohttp.ClientSession, now: float) -> tuple[Notice, ...]:
        """Preemption first: it is the shorter notice. A live migration ends nothing and is no notice."""
        if await self._get(session, "preempted") == "TRUE":
            return (Notice(NoticeKind.INTERRUPTION, now + self._notice_seconds, "gcp", "preempted", now),)
        if await self._get(session, "maintenance-event") == ENDING_MAINTENANCE:
            return (
                Notice(NoticeKind.MAINTENANCE, now + MAINTENANCE_SECONDS, "gcp", "host maintenance", now),
            )
        return ()

    async def _get(self, session: aiohttp.ClientSession, item: str) -> str:
        url = f"{self._home}/computeMetadata/v1/instance/{item}"
        async with session.get(url, headers={"Metadata-Flavor": "Google"}) as answer:
            answer.raise_for_status()
            return (await answer.text()).strip()
