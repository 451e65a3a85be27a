"""The package's errors: one base class, so that a step or a server can translate them all."""


class HealthriskError(Exception):
    """Something the user can fix: the message says what was wrong and what was expected."""

    # Whether a message may hold a value out of the table: then it is for the log, and for nobody far away.
    quotes_table = False


class ConfigError(HealthriskError):
    """A variable of the environment or an argument has a value that cannot be used."""


class SpecError(HealthriskError):
    """A dataset spec is not valid."""


class SourceError(HealthriskError):
    """A source of data could not be read, or is not what its spec says it is."""

    quotes_table = True


class ValidationError(HealthriskError):
    """A table breaks a rule of its spec that the spec says must fail."""

    quotes_table = True


class TrainingError(HealthriskError):
    """A table is fit to be read, but not to be learned from."""

    quotes_table = True


class GateError(HealthriskError):
    """A model fails a gate of its spec, and nothing was registered."""


class BundleError(HealthriskError):
    """A bundle is incomplete, altered, or disagrees with the model it was made from."""

    quotes_table = True


class StoreError(HealthriskError):
    """A bundle store or a tracking server did not do what was asked of it."""


class EngineError(HealthriskError):
    """The cluster that is to do the work is not there, has other versions, or does not survive the work."""
