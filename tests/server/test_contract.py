"""The nodes are what they were when they were released, and at most more: saved workflows rely on it."""

from support import contract
from support.comfyui_server import ComfyUIServer


def test_ids_inputs_options_and_outputs_keep_name_order_and_type(server: ComfyUIServer):
    assert contract.changes(server.get("/object_info")) == []
