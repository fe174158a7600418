"""The datasets that Binance offers, one file each. What a declaration says: `binance/declaration.py`."""
