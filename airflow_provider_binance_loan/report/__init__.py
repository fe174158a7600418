"""Reports: what happened, as pages for people who have no Airflow."""
