"""webui.py imports it and does nothing with it."""
