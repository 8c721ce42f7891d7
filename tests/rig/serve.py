"""Starts one of CosyVoice's own servers, unchanged, with a model of ours that only pretends.

    serve.py fastapi|grpc|gradio PORT FOLDER_FOR_WHAT_IT_WRITES

COSYVOICE_DIR is a checkout of CosyVoice. fake/ stands first in the path, so what the servers import of
`cosyvoice`, `torch` and the like is what stands there.
"""

import os
import runpy
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SERVERS = {
    "fastapi": "runtime/python/fastapi/server.py",
    "grpc": "runtime/python/grpc/server.py",
    "gradio": "webui.py",
}


def main(kind: str, port: str, scratch: str) -> None:
    checkout = Path(os.environ["COSYVOICE_DIR"]).resolve()
    script = checkout / SERVERS[kind]
    sys.path.insert(0, str(HERE / "fake"))
    if kind == "grpc":
        # The checkout stays as it is: what protoc makes lies elsewhere.
        protoc = [sys.executable, "-m", "grpc_tools.protoc", f"-I{script.parent}"]
        protoc += [f"--python_out={scratch}", f"--grpc_python_out={scratch}", "cosyvoice.proto"]
        subprocess.run(protoc, check=True)
        sys.path.insert(0, scratch)
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    os.environ.setdefault("GRADIO_TEMP_DIR", scratch)
    sys.argv = [str(script), "--port", port, "--model_dir", "pretended"]
    runpy.run_path(str(script), run_name="__main__")


if __name__ == "__main__":
    main(*sys.argv[1:4])
