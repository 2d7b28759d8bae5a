"""The web page of `demo.py`."""
