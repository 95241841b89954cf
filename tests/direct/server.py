#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""server.py - asks a llama-server on this host

  server.py PORT health          waits until it is ready
  server.py PORT ask N           the text of N tokens, greedy; "failed: ..." and status 1 if there is none
  server.py PORT stream N FILE   the same in a stream, each piece into FILE as it comes; then prints how
                                 that ended: "whole" or "failed: ..."
"""
import http.client
import json
import sys
import time


def request(port, n, stream):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    body = {"prompt": "Once upon a time", "n_predict": n, "temperature": 0, "seed": 1,
            "ignore_eos": True, "stream": stream, "cache_prompt": False}
    c.request("POST", "/completion", json.dumps(body), {"Content-Type": "application/json"})
    r = c.getresponse()
    if r.status != 200:
        raise OSError(f"{r.status}: {r.read().decode()}")
    return r


def main():
    port, what = int(sys.argv[1]), sys.argv[2]
    if what == "health":
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                c = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
                c.request("GET", "/health")
                if c.getresponse().status == 200:
                    return 0
            except OSError:
                pass
            time.sleep(0.1)
        return 1
    try:
        if what == "ask":
            print(json.load(request(port, int(sys.argv[3]), False))["content"])
            return 0
        with open(sys.argv[4], "w") as out:
            for line in request(port, int(sys.argv[3]), True):
                text = line.decode().strip()
                if text.startswith("error:"):
                    raise OSError(text)
                if text.startswith("data:"):
                    data = json.loads(text[5:])
                    if "error" in data:
                        raise OSError(data["error"])
                    out.write(data.get("content", ""))
                    out.flush()
                    if data.get("stop"):
                        print("whole")
                        return 0
        raise OSError("the stream ends early")
    except (OSError, http.client.HTTPException) as e:
        print("failed:", e)
        return 1


sys.exit(main())
