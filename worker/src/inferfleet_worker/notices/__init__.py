"""What the machine's owner announces to the machine itself, through its metadata service."""

from inferfleet_worker.notices.source import NoticeSource, open_source
from inferfleet_worker.notices.watch import Watch

__all__ = ["NoticeSource", "Watch", "open_source"]
