"""The run-time checker of the package's annotations: beartype, with int counting as float."""

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
