"""Amazon EC2: spot interruption, rebalance advice, scheduled maintenance and Auto Scaling's wish over IMDSv2.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html,
rebalance-recommendations.html and monitoring-instances-status-check_sched.html, and
https://docs.aws.amazon.com/autoscaling/ec2/userguide/retrieving-target-lifecycle-state-through-imds.html.
Pods reach the service only where the instance's hop limit is 2 or more.
"""

from __future__ import annotations

import json
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from inferfleet_wire import MetadataSource, Notice, NoticeKind, codec

if TYPE_CHECKING:
    from collections.abc import Mapping

    import aiohttp

HOME = "http://169.254.169.254"
TOKEN_SECONDS = 21600
NOTICE_SECONDS = 120.0
"""What EC2 gives from the notice to the stop; used only where the notice carries no instant."""

ENDING_ACTIONS = frozenset({"terminate", "stop", "hibernate"})
ENDING_STATE = "Terminated"
"""What Auto Scaling says of an instance that it is about to end; a lifecycle hook holds it meanwhile."""

STANDING = "active"
"""The state of a scheduled event that is neither completed nor cancelled."""


class Aws:
    """Asks with a session token, renewed when the service no longer takes it."""

    def __init__(self, settings: MetadataSource) -> None:
        self._home = settings.url or HOME
        self._notice_seconds = settings.notice_seconds or NOTICE_SECONDS
        self._token = ""

    async def poll(self, session: aiohttp.ClientSession, now: float) -> tuple[Notice, ...]:
        """The end that stands, with the maintenance that stands; advice only while nothing worse does."""
        ends = [*await self._spot(session, now), *await self._lifecycle(session, now)]
        notices = (*ends, *await self._maintenance(session, now))
        if notices or await self._get(session, "events/recommendations/rebalance") is None:
            return notices
        return (Notice(NoticeKind.REBALANCE, None, "aws", "rebalance recommendation", now),)

    async def _spot(self, session: aiohttp.ClientSession, now: float) -> list[Notice]:
        text = await self._get(session, "spot/instance-action")
        action = codec.as_object(json.loads(text), "spot/instance-action") if text else {}
        if action.get("action") not in ENDING_ACTIONS:
            return []
        deadline = _instant(action["time"]) if "time" in action else now + self._notice_seconds
        return [Notice(NoticeKind.INTERRUPTION, deadline, "aws", f"spot {action['action']}", now)]

    async def _lifecycle(self, session: aiohttp.ClientSession, now: float) -> list[Notice]:
        state = await self._get(session, "autoscaling/target-lifecycle-state")
        if (state or "").strip() != ENDING_STATE:
            return []
        detail = "Auto Scaling ends the instance"
        return [Notice(NoticeKind.INTERRUPTION, now + self._notice_seconds, "aws", detail, now)]

    async def _maintenance(self, session: aiohttp.ClientSession, now: float) -> list[Notice]:
        text = await self._get(session, "events/maintenance/scheduled")
        events = codec.as_list(json.loads(text), "events/maintenance/scheduled") if text else []
        found = (codec.as_object(event, "scheduled event") for event in events)
        return [_scheduled(event, now) for event in found if event.get("State") == STANDING]

    async def _get(self, session: aiohttp.ClientSession, item: str) -> str | None:
        """The item's text, or None where the service has none (404)."""
        for renewed in (False, True):
            if renewed or not self._token:
                self._token = await self._fetch_token(session)
            headers = {"X-aws-ec2-metadata-token": self._token}
            async with session.get(f"{self._home}/latest/meta-data/{item}", headers=headers) as answer:
                if answer.status == HTTPStatus.NOT_FOUND:
                    return None
                if answer.status == HTTPStatus.UNAUTHORIZED and not renewed:
                    continue
                answer.raise_for_status()
                return await answer.text()
        return None

    async def _fetch_token(self, session: aiohttp.ClientSession) -> str:
        headers = {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_SECONDS)}
        async with session.put(f"{self._home}/latest/api/token", headers=headers) as answer:
            answer.raise_for_status()
            return await answer.text()


def _scheduled(event: Mapping[str, Any], now: float) -> Notice:
    """A reboot, stop or retirement: `NotBefore` is when it may begin, as `21 Jan 2019 09:00:43 GMT`."""
    begins = parsedate_to_datetime(codec.text(event, "NotBefore")).timestamp()
    detail = f"{event.get('Code', 'maintenance')} {event.get('EventId', '')}".strip()
    return Notice(NoticeKind.MAINTENANCE, begins, "aws", detail, now)


def _instant(text: str) -> float:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc).timestamp()
