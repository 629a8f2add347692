"""A client of an Axon fleet that knows nothing but NATS: nats-py, the subjects and JSON.

    client.py publish QUERY [ID]   publishes, waits for the answer in the stream of answers
    client.py ask QUERY [ID]       asks the micro service `<namespace>.ask`

Prints {"id", "sequence", "headers", "answer"} as JSON. The server and the namespace come from AXON_BUS__URL and
AXON_BUS__NAMESPACE.
"""

import asyncio
import json
import os
import sys

try:
    import nats
except ImportError:
    sys.exit("nats-py is missing: run `make test`, which installs it")

WAIT_S = 60


async def publish(connection, namespace, query, own_id):
    stream = connection.jetstream()
    headers = {"Nats-Msg-Id": own_id} if own_id else None
    accepted = await stream.publish(f"{namespace}.queries", query, headers=headers)
    query_id = own_id or f"q{accepted.seq}"
    # Everything the stream holds of this subject, and what comes: whether the answer is there already does not matter.
    answers = await stream.subscribe(f"{namespace}.answers.{query_id}", ordered_consumer=True)
    message = await answers.next_msg(timeout=WAIT_S)
    return {"id": query_id, "sequence": accepted.seq, "headers": message.headers, "answer": json.loads(message.data)}


async def ask(connection, namespace, query, own_id):
    headers = {"Nats-Msg-Id": own_id} if own_id else None
    message = await connection.request(f"{namespace}.ask", query, timeout=WAIT_S, headers=headers)
    if "Nats-Service-Error" in (message.headers or {}):
        sys.exit(f"refused: {message.headers['Nats-Service-Error']}")
    answer = json.loads(message.data)
    return {"id": answer["query_id"], "sequence": None, "headers": message.headers, "answer": answer}


async def main(how, query, own_id=None):
    connection = await nats.connect(os.environ["AXON_BUS__URL"])
    try:
        run = {"publish": publish, "ask": ask}[how]
        result = await run(connection, os.environ["AXON_BUS__NAMESPACE"], query.encode(), own_id)
        print(json.dumps(result))
    finally:
        await connection.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
