"""Runs the Python of docs/SECURITY.md on one sealed header, as a service would, and prints whom it names.

Takes a JSON object on standard input: the manual's text, the header, method, target, algorithm and key (base64url).
"""

import base64
import json
import re
import sys

given = json.load(sys.stdin)
code = re.search(r"```python\n(.*?)```", given["manual"], re.S).group(1)
scope = {}
exec(code, scope)
key = base64.urlsafe_b64decode(given["key"] + "=" * (-len(given["key"]) % 4))
if given["algorithm"] == "EdDSA":
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    key = Ed25519PublicKey.from_public_bytes(key)
headers = {"x-cosygate-identity": given["header"]}
print(json.dumps(scope["caller"](headers, given["method"], given["target"], key, given["algorithm"])))
