"""What Binance offers to read, one file for each endpoint. How it is declared: `binance/declaration.py`."""
