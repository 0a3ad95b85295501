"""Making each method's folder of images for the table, from the manifest's garments and prompts."""
