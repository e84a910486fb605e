"""The protocol as values: bytes in, events and messages out. No sockets, no clock, no randomness of its own.

frames.py        length-prefixed frames
messages.py      what the frames of an authenticated connection carry
codec.py         messages as frames and back, nothing but what is declared being accepted
first_bytes.py   what the first bytes of an unknown peer show
cpace.py         CPace-X25519-SHA512, the password-authenticated key exchange
primitives.py    where X25519 comes from: `cryptography`, or
x25519.py        plain Python
key_schedule.py  from secret, frames and certificate to tags and resume key
handshake.py     the five frames that prove the password on both sides
tickets.py       what a fetcher shows to the holder of blocks

docs/protocol.md describes the bytes, enough to write a second implementation.
"""
