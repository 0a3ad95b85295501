"""Making each method's folder of pictures for the table, from the manifest's garments and prompts."""
