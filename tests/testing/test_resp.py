"""Where one value of the protocol ends and the next begins."""

from __future__ import annotations

import io

import pytest

from gapless.testing.faults.resp import ErrorReply, Requests, Values, pack, read_reply

VALUES = [
    b"+OK\r\n",
    b"-ERR no\r\n",
    b":12\r\n",
    b"$-1\r\n",
    b"$0\r\n\r\n",
    b"$8\r\n*1\r\n+a\r\n\r\n",
    b"*0\r\n",
    b"*-1\r\n",
    b"*3\r\n$7\r\nmessage\r\n*2\r\n:1\r\n*0\r\n$1\r\nx\r\n",
    b"_\r\n",
    b"#t\r\n",
    b",1.5\r\n",
    b"(123\r\n",
    b"=7\r\ntxt:abc\r\n",
    b"!3\r\nERR\r\n",
    b"%2\r\n+a\r\n:1\r\n+b\r\n*1\r\n:2\r\n",
    b"~2\r\n:1\r\n:2\r\n",
    b">2\r\n+a\r\n+b\r\n",
    b"|1\r\n+ttl\r\n:1\r\n+value with an attribute\r\n",
]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_a_stream_is_split_where_its_values_end(size: int) -> None:
    stream = b"".join(VALUES)
    values, found, current = Values(), [], b""
    for start in range(0, len(stream), size):
        for piece, ended in values.split(stream[start : start + size]):
            current += piece
            if ended:
                found.append(current)
                current = b""
    assert found == VALUES
    assert not current
    assert values.readable


@pytest.mark.parametrize("garbage", [b"$x\r\n", b"*\xff\r\n", bytes(range(11, 256)) * 300])
def test_what_is_not_the_protocol_passes_whole(garbage: bytes) -> None:
    values = Values()
    pieces = [piece for start in (0, 1) for piece, _ in values.split(garbage)]
    assert b"".join(pieces) == garbage * 2
    assert not values.readable


def test_the_names_of_commands() -> None:
    requests = Requests()
    stream = pack(("hello", 3)) + pack(("Set", b"\xff" * 1000, "x" * 500)) + b"PING\r\n" + pack(("GET", "a"))
    names = [name for byte in stream for name in requests.names(bytes([byte]))]
    assert names == ["HELLO", "SET", "GET"]


def test_replies() -> None:
    stream = io.BytesIO(b"*3\r\n$2\r\n\r\n\r\n:-1\r\n*-1\r\n$-1\r\n+OK\r\n-ERR no\r\n+cut")
    assert [read_reply(stream) for _ in range(3)] == [[b"\r\n", -1, None], None, b"OK"]
    with pytest.raises(ErrorReply, match="ERR no"):
        read_reply(stream)
    with pytest.raises(ConnectionError, match="closed"):
        read_reply(stream)
