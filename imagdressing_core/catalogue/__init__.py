"""Catalogues: thousands of garments × prompts × poses × seeds, made on one machine or on a cluster."""
