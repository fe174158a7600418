"""Binance institutional loans in Apache Airflow.

Imports nothing: Airflow loads this module while its own configuration is still being read.
"""

__version__ = "0.1.0"
