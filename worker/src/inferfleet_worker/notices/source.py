"""The interface of a notice source, and which provider has which."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from inferfleet_wire import MetadataProvider, MetadataSource
from inferfleet_worker.notices.aws import Aws
from inferfleet_worker.notices.azure import Azure
from inferfleet_worker.notices.gcp import Gcp
from inferfleet_worker.notices.url import Url

if TYPE_CHECKING:
    from collections.abc import Callable

    import aiohttp

    from inferfleet_wire import Notice


class NoticeSource(Protocol):
    """One metadata service.

    `poll` answers what stands there at `now` (epoch seconds), nothing in ordinary times. It raises
    aiohttp.ClientError or TimeoutError when the service cannot be asked, ValueError when the answer cannot
    be read. A deadline that the provider does not give is counted from `now`; the watch keeps the earliest.
    """

    async def poll(self, session: aiohttp.ClientSession, now: float) -> tuple[Notice, ...]:
        """Ask once."""
        ...


_SOURCES: dict[MetadataProvider, Callable[[MetadataSource], NoticeSource]] = {
    MetadataProvider.AWS: Aws,
    MetadataProvider.GCP: Gcp,
    MetadataProvider.AZURE: Azure,
    MetadataProvider.URL: Url,
}


def open_source(settings: MetadataSource) -> NoticeSource:
    """The source that the launch plan asks for."""
    return _SOURCES[settings.provider](settings)
