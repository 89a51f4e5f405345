"""The page: a study's analysis as one self-contained HTML file, its figures as PNG and CSV. No statistics, no jax."""
