"""Just enough of DNS (RFC 1035) to know that the cluster's names are answered."""

from __future__ import annotations

import socket
import struct

API_SERVER = "kubernetes.default.svc.cluster.local"
PORT = 53
PATIENCE_SECONDS = 0.5
QUERY_ID = 0x1F1F
RECURSION_DESIRED = 0x0100
ADDRESS, INTERNET = 1, 1


def question(name: str) -> bytes:
    """Render a query for a name's IPv4 address."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    header = struct.pack(">6H", QUERY_ID, RECURSION_DESIRED, 1, 0, 0, 0)
    return header + labels + b"\0" + struct.pack(">2H", ADDRESS, INTERNET)


def has_address(reply: bytes) -> bool:
    """Tell whether a reply is to our query, without error and with at least one record."""
    if len(reply) < 12:  # noqa: PLR2004 the header's length
        return False
    query_id, flags, _, records, _, _ = struct.unpack(">6H", reply[:12])
    return bool(query_id == QUERY_ID and flags & 0x8000 and not flags & 0x000F and records)


def answers(server: str, name: str = API_SERVER) -> bool:
    """Ask a server for a name once."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours:
        ours.settimeout(PATIENCE_SECONDS)
        try:
            ours.connect((server, PORT))
            ours.send(question(name))
            return has_address(ours.recv(512))
        except OSError:
            return False
