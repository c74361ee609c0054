"""Values that a user gives by name, and a sentence where there is no such name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from regimeflow.errors import ConfigError, did_you_mean

if TYPE_CHECKING:  # to a type checker it is a struct as any, with the signature of its fields
    Given = msgspec.Struct
else:

    class _ByName(msgspec.StructMeta):
        """Makes structs whose names are checked; only calls by hand come here, no decoding."""

        def __call__(cls, *args: Any, **values: Any) -> Any:
            known = cls.__struct_fields__
            for name in values:
                if name not in known:
                    hint = did_you_mean(name, known) or f" It has {', '.join(known)}."
                    raise ConfigError(f"{cls.__name__} has no {name!r}.{hint}")
            try:
                return super().__call__(*args, **values)
            except TypeError as error:
                said = str(error).replace("argument", "value")
                raise ConfigError(
                    f"{cls.__name__}: {said[:1].lower()}{said[1:]}; give values by name, such as "
                    f"{cls.__name__}({known[0]}=...)"
                ) from error

    class Given(msgspec.Struct, metaclass=_ByName):
        """A struct that users make."""
