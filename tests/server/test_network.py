"""The nodes work without a network, and do not ask for one."""

from support import comfyui_process


def test_nothing_reaches_for_the_network_from_start_to_image():
    """In a process of its own, which ends at the first attempt."""
    done = comfyui_process.in_a_process_of_its_own("""
import sys
def watch(event, details):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto", "urllib.Request"):
        print("reached for", details, file=sys.stderr, flush=True)
        __import__("os")._exit(3)
sys.addaudithook(watch)
import torch
from support import parity
with torch.inference_mode():
    garment = parity.garment_of_vectors()
    parity.garment_encoder.cache_clear()
    parity.noise_prediction(parity.with_garment(garment, 1.0), 501)
print("an image")
""")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "an image" in done.stdout
