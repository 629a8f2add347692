"""An MCP server whose tools do what tests need: wait, start processes, answer at length. `mcp_server.py stdio`, or
`mcp_server.py http PORT`."""

import os
import subprocess
import sys
from pathlib import Path

import anyio
from mcp.server.mcpserver import MCPServer
from mcp.types import ToolAnnotations

READ_ONLY = ToolAnnotations(read_only_hint=True)

server = MCPServer("for-tests")


async def busy(path: str, seconds: float) -> str:
    # Whoever reads the file knows that the call has begun, and in which process.
    unfinished = Path(path + ".part")
    unfinished.write_text(str(os.getpid()))
    unfinished.rename(path)
    await anyio.sleep(seconds)
    return f"waited in {os.getpid()}"


@server.tool(annotations=READ_ONLY, structured_output=False)
async def look(path: str, seconds: float) -> str:
    """Waits, and changes nothing."""
    return await busy(path, seconds)


@server.tool(structured_output=False)
async def change(path: str, seconds: float) -> str:
    """Waits, and might change something."""
    return await busy(path, seconds)


@server.tool(annotations=READ_ONLY)
async def family() -> dict[str, int]:
    """Starts a process in the group of this one, and one in a session of its own."""
    near = subprocess.Popen(["sleep", "600"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    far = subprocess.Popen(
        ["sh", "-c", "sleep 600 & wait"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
    )
    return {"own": os.getpid(), "near": near.pid, "far": far.pid}


@server.tool(annotations=READ_ONLY, structured_output=False)
async def flood(count: int) -> str:
    """Answers with so many letters."""
    return "x" * count


@server.tool(annotations=READ_ONLY)
async def variables() -> list[str]:
    """The names of the variables this process sees."""
    return sorted(os.environ)


if sys.argv[1] == "http":
    server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[2]))
else:
    server.run()
