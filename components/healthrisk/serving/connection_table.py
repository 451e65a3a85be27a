"""Who is connected: at most so many connections, and room for a new one where an old one has nothing under way."""

from typing import Protocol


class Connection(Protocol):
    """One client's connection."""

    def may_leave(self) -> bool:
        """Say whether no request that has come in whole waits for its answer."""
        ...

    def leave(self) -> None:
        """Close the connection to make room for another."""
        ...


class ConnectionTable:
    """Counts connections by client. When there are too many, the client with the most of them gives one up.

    So a client that opens all the connections there may be keeps nobody out, be it the one that asks for health.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._by_client: dict[str, dict[Connection, None]] = {}
        self._count = 0

    def add(self, client: str, connection: Connection) -> bool:
        """Take in a connection; say whether there was room, or could be made."""
        if self._count >= self.limit and not self._make_room():
            return False
        self._by_client.setdefault(client, {})[connection] = None
        self._count += 1
        return True

    def remove(self, client: str, connection: Connection) -> None:
        """Forget a connection, if it is not forgotten already."""
        connections = self._by_client.get(client, {})
        if connection in connections:
            del connections[connection]
            self._count -= 1
            if not connections:
                del self._by_client[client]

    def _make_room(self) -> bool:
        for client in sorted(self._by_client, key=lambda client: -len(self._by_client[client])):
            oldest = next((one for one in self._by_client[client] if one.may_leave()), None)
            if oldest is not None:
                self.remove(client, oldest)
                oldest.leave()
                return True
        return False
