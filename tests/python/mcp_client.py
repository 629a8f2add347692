"""An MCP client: `mcp_client.py AXON DIRECTORY CALLS` starts `axon mcp`, lists its tools, makes the calls and prints what
came back as one JSON document. CALLS is a list of [tool, arguments]; `$id` stands for the id of the last query."""

import asyncio
import json
import os
import sys

from mcp import Client, MCPError, StdioServerParameters


async def main():
    axon, directory, calls = sys.argv[1:4]
    passed_on = {name: value for name, value in os.environ.items() if name.startswith("AXON_")}
    server = StdioServerParameters(command=axon, args=["mcp", "--workspace", directory], env=passed_on)
    said = []
    async with Client(server, read_timeout_seconds=120) as client:
        tools = [tool.name for tool in (await client.list_tools()).tools]
        query = ""
        for name, arguments in json.loads(calls):
            arguments = {key: query if value == "$id" else value for key, value in arguments.items()}
            try:
                result = await client.call_tool(name, arguments)
            except MCPError as error:
                said.append({"refused": str(error)})
                continue
            text = "".join(block.text for block in result.content if block.type == "text")
            structure = result.structured_content
            said.append({"text": text, "structure": structure, "error": bool(result.is_error)})
            query = (structure or {}).get("id", query)
    print(json.dumps({"tools": tools, "said": said}))


asyncio.run(main())
