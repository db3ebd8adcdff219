"""Amazon EC2: spot interruption and rebalance advice over IMDSv2.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html and
rebalance-recommendations.html. Pods reach the service only where the instance's hop limit is 2 or more.
"""

from __future__ import annotations

from datetime import datetime, timezone
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


class Aws:
    """Asks with a session token, renewed when the service no longer takes it."""

    def __init__(self, settings: MetadataSource) -> None:
        self._home = settings.url or HOME
        self._notice_seconds = settings.notice_seconds or NOTICE_SECONDS
        self._token = ""

    async def poll(self, session: aiohttp.ClientSession, now: float) -> tuple[Notice, ...]:
        """The interruption that stands, else the advice that stands."""
        action = await self._get(session, "spot/instance-action")
        if action is not None and action.get("action") in ENDING_ACTIONS:
            deadline = _instant(action["time"]) if "time" in action else now + self._notice_seconds
            return (Notice(NoticeKind.INTERRUPTION, deadline, "aws", f"spot {action['action']}", now),)
        advice = await self._get(session, "events/recommendations/rebalance")
        if advice is not None:
            return (Notice(NoticeKind.REBALANCE, None, "aws", "rebalance recommendation", now),)
        return ()

    async def _get(self, session: aiohttp.ClientSession, item: str) -> Mapping[str, Any] | None:
        """The item, or None where the service has none (404)."""
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
                return codec.as_object(await answer.json(content_type=None), item)
        return None

    async def _fetch_token(self, session: aiohttp.ClientSession) -> str:
        headers = {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_SECONDS)}
        async with session.put(f"{self._home}/latest/api/token", headers=headers) as answer:
            answer.raise_for_status()
            return await answer.text()


def _instant(text: str) -> float:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc).timestamp()
