#!/usr/bin/env python3
import json
import sys

node_id = None
for line in sys.stdin:
    request = json.loads(line)
    body = request["body"]
    reply = {"type": body["type"] + "_ok", "in_reply_to": body["msg_id"]}
    if body["type"] == "init":
        node_id = body["node_id"]
    elif body["type"] == "echo":
        reply["echo"] = body["echo"]
    message = {"src": node_id, "dest": request["src"], "body": reply}
    print(json.dumps(message), flush=True)
