"""actor.py URL TRANSPORT: an application with aiocometd-ng. Speaks the language of ../actor.mjs."""

import asyncio
import json
import sys

from aiocometd_ng import Client, ConnectionType, Extension


def tell(line):
    """Says what came of a command, or what happened."""
    print(json.dumps(line), flush=True)


class Tap(Extension):
    """Sees what the library keeps to itself: connects, handshakes, subscriptions, and answers of services."""

    def __init__(self):
        self.answers = asyncio.Queue()

    async def outgoing(self, payload, headers):
        """Changes nothing."""

    async def incoming(self, payload, headers=None):
        """Tells of meta messages. A service's answer has its question's id: the library drops it."""
        for message in payload:
            channel, successful = message["channel"], message.get("successful")
            if channel == "/meta/handshake" and successful:
                tell({"event": "session", "clientId": message["clientId"]})
            elif channel == "/meta/connect":
                tell({"event": "connect", "successful": successful})
            elif channel == "/meta/subscribe" and successful:
                tell({"event": "subscribed", "channel": message["subscription"]})
            elif channel.startswith("/service/") and "data" in message:
                self.answers.put_nowait(message["data"])


class Actor:
    """Commands are its methods."""

    def __init__(self, url, transport):
        self.tap = Tap()
        # Its own deadline for a return fails at once since Python 3.10, where asyncio.wait_for takes no loop.
        self.client = Client(url, ConnectionType(transport), extensions=[self.tap], connection_timeout=0)
        self.listening = None

    async def handshake(self):
        await self.client.open()
        self.listening = asyncio.create_task(self._listen())
        return {"transport": self.client.connection_type.value}

    async def _listen(self):
        async for message in self.client:
            # One inbox for all subscriptions.
            tell({"event": "heard", "by": None, "channel": message["channel"], "data": message["data"]})

    async def subscribe(self, channel):
        await self.client.subscribe(channel)

    async def unsubscribe(self, channel):
        await self.client.unsubscribe(channel)

    async def publish(self, channel, data):
        await self.client.publish(channel, data)

    async def batch(self, channel, count):
        """It has no batches: one after the other."""
        for n in range(count):
            await self.client.publish(channel, {"n": n})

    async def call(self, target, data):
        await self.client.publish(f"/service/{target}", data)
        return await self.tap.answers.get()

    async def disconnect(self):
        await self.client.close()


def trouble(loop, context):
    """Its callbacks do not expect the cancellations by which it closes itself."""
    if not isinstance(context.get("exception"), asyncio.CancelledError):
        loop.default_exception_handler(context)


async def main():
    asyncio.get_running_loop().set_exception_handler(trouble)
    url, transport = sys.argv[1:3]
    actor = Actor(url, transport)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        command = json.loads(line)
        number, name = command.pop("id"), command.pop("do")
        try:
            tell({"id": number, "ok": await getattr(actor, name)(**command)})
        except Exception as error:  # pylint: disable=broad-except
            tell({"id": number, "error": repr(error)})


asyncio.run(main())
