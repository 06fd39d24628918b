#!/usr/bin/env python3
"""Challenge 3: values that clients tell one node reach every node, though messages are lost."""
import json
import sys
import threading
import time

lock = threading.Lock()
node_id = None
values = set()
lacking = {}  # what each other node may lack, for all that it has answered


def send(dest, body):
    print(json.dumps({"src": node_id, "dest": dest, "body": body}), flush=True)


def learn(new, known_to=None):
    for other in lacking:
        if other != known_to:
            lacking[other] |= set(new) - values
    values.update(new)


def gossip():
    while True:
        time.sleep(0.5)
        with lock:
            for other in lacking:
                if lacking[other]:
                    send(other, {"type": "gossip", "values": list(lacking[other])})


threading.Thread(target=gossip, daemon=True).start()
for line in sys.stdin:
    request = json.loads(line)
    src, body = request["src"], request["body"]
    with lock:
        if body["type"] == "gossip_ok":
            lacking[src] -= set(body["values"])
            continue
        reply = {"type": body["type"] + "_ok"}
        if body["type"] == "init":
            node_id = body["node_id"]
            lacking = {other: set() for other in body["node_ids"] if other != node_id}
        elif body["type"] == "broadcast":
            learn([body["message"]])
        elif body["type"] == "read":
            reply["messages"] = list(values)
        elif body["type"] == "gossip":
            learn(body["values"], known_to=src)
            reply["values"] = body["values"]
        if "msg_id" in body:
            reply["in_reply_to"] = body["msg_id"]
        send(src, reply)
