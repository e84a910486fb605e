"""The connections of a cluster, as the rest of it sees them.

Decides: nothing; it gathers the names. Behind it, from the socket up:

    tls.py        contexts, certificate, fingerprint
    stream.py     TLS bytes over an asyncio transport
    messaging.py  Connection: messages and bodies
    admission.py  guesses and places of strangers
    dialing.py    dial (the coordinator), dial_pinned (another worker)
    listening.py  Listener (the coordinator's), PinnedListener (a worker's)
"""

from mincemeat.cluster.dialing import dial, dial_pinned
from mincemeat.cluster.listening import Listener, PinnedListener, Refusal
from mincemeat.cluster.messaging import Connection, format_address

__all__ = ["Connection", "Listener", "PinnedListener", "Refusal", "dial", "dial_pinned", "format_address"]
