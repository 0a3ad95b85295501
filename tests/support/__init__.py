"""The tests' library: the real ComfyUI in a process or as a server, synthetic models, oracles and bad files."""
