"""A class and a YAML file become a production model service. What users import is in the modules named in `README.md`."""

__version__ = "0.1.0"
