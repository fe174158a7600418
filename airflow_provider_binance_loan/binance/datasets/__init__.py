"""The datasets, one file each: what Binance offers to read, declared once."""
