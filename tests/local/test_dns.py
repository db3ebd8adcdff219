"""The DNS question that tells whether the cluster's names are answered."""

import struct

import pytest

from inferfleet_local.dns import QUERY_ID, answers, has_address, question


def reply(*, query_id: int = QUERY_ID, flags: int = 0x8580, records: int = 1) -> bytes:
    return struct.pack(">6H", query_id, flags, 1, records, 0, 0) + b"rest"


def test_a_question_is_rendered_as_rfc_1035_says():
    assert question("a.bc") == bytes.fromhex("1f1f 0100 0001 0000 0000 0000 01 61 02 6263 00 0001 0001")


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (reply(), True),
        (reply(query_id=7), False),
        (reply(flags=0x0580), False),  # a question, not an answer
        (reply(flags=0x8583), False),  # NXDOMAIN
        (reply(records=0), False),
        (b"short", False),
    ],
)
def test_only_an_answer_to_our_question_with_a_record_counts(data: bytes, found: bool):
    assert has_address(data) is found


def test_nobody_listening_is_no_answer():
    assert not answers("127.0.0.99")
